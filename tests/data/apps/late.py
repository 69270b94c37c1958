"""An app at the port that it is given. Where `/late` is asked for it answers at once that all is well, and says what some seconds later."""

import http.server
import os
import sys
import time

APP = b"this is the app"


class App(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(APP)))
        self.send_header("X-App", str(os.getpid()))
        self.end_headers()
        if self.path == "/late":
            time.sleep(4)
        self.wfile.write(APP)

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True


Server(("127.0.0.1", int(sys.argv[1])), App).serve_forever()
