"""An app that takes its time for each request. It says its port, and then the path of each request that begins."""
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

NAME, SECONDS = sys.argv[1], float(sys.argv[2]) / 1000


class App(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def answer(self):
        self.rfile.read(int(self.headers.get("content-length", 0)))
        print(self.command, self.path, flush=True)
        time.sleep(SECONDS)
        body = f"this is the app {NAME}".encode()
        head = f"HTTP/1.1 200 OK\r\ncontent-length: {len(body)}\r\n\r\n".encode()
        self.wfile.write(head + body)

    do_GET = do_POST = answer

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024


server = Server(("127.0.0.1", 0), App)
print(server.server_port, flush=True)
server.serve_forever()
