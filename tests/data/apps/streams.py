"""An app at the port that it is given. It takes event streams and WebSockets, and keeps them open until the visitor goes. Each answer
says which process gave it."""

import base64
import hashlib
import http.server
import os
import sys
import time

ME = str(os.getpid())
# RFC 6455, section 1.3.
SALT = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class App(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.headers.get("Upgrade", "").lower() == "websocket":
            self.upgrade()
        elif "text/event-stream" in self.headers.get("Accept", ""):
            self.events()
        else:
            self.head(200, {"Content-Length": "0"})

    def head(self, status, lines):
        self.send_response(status)
        self.send_header("X-App", ME)
        for name, value in lines.items():
            self.send_header(name, value)
        self.end_headers()

    def upgrade(self):
        key = self.headers["Sec-WebSocket-Key"] + SALT
        accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
        self.head(101, {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Accept": accept})
        while self.rfile.read(1):
            pass
        self.close_connection = True

    def events(self):
        self.head(200, {"Content-Type": "text/event-stream", "Connection": "close"})
        try:
            while True:
                self.wfile.write(b"data: still here\n\n")
                time.sleep(0.1)
        except OSError:
            self.close_connection = True

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True


Server(("127.0.0.1", int(sys.argv[1])), App).serve_forever()
