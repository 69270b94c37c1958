"""An app whose every answer costs the same processor time, and which tells how busy its machine is as node_exporter does.

Its machine has so much of a processor (QUOTA, in processors); an answer takes COST seconds of one. Half of that goes into pbkdf2, half
into scrypt, as where passwords are checked. How busy the machine is follows from the answers alone: what this host's processor takes for
them grows with whatever else it does at the time.
"""

import hashlib
import http.server
import os
import socket
import threading
import time

QUOTA = float(os.environ["QUOTA"])
COST = float(os.environ["COST"])
APP = "this is the app"


def pbkdf2(rounds):
    hashlib.pbkdf2_hmac("sha256", b"password", b"salt", rounds)


def scrypt(rounds):
    for _ in range(rounds):
        hashlib.scrypt(b"password", salt=b"salt", n=256, r=8, p=1)


def rounds_for(work, seconds):
    """How many rounds take so long, measured here."""
    rounds = 64
    while True:
        before = time.thread_time()
        work(rounds)
        took = time.thread_time() - before
        if took > 0.01:
            return max(1, int(rounds * seconds / took))
        rounds *= 2


PBKDF2 = rounds_for(pbkdf2, COST / 2)
SCRYPT = rounds_for(scrypt, COST / 2)


class Machine:
    """The one processor of a machine that has QUOTA of a real one: it is never busy for longer than time has passed."""

    def __init__(self):
        self.lock = threading.Lock()
        self.busy = self.up = self.used = 0.0
        self.read = time.monotonic()

    def works(self):
        with self.lock:
            self.used += COST

    def now(self):
        with self.lock:
            moment = time.monotonic()
            passed = moment - self.read
            self.busy += min(self.used / QUOTA, passed)
            self.up += passed
            self.used, self.read = 0.0, moment
            return self.busy, self.up


MACHINE = Machine()


class App(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path != "/health":
            MACHINE.works()
            pbkdf2(PBKDF2)
            scrypt(SCRYPT)
        self.say(APP, "text/plain")

    def say(self, text, kind):
        body = text.encode()
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-App", socket.gethostname())
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Metrics(App):
    def do_GET(self):
        busy, up = MACHINE.now()
        self.say(
            "# TYPE node_cpu_seconds_total counter\n"
            f'node_cpu_seconds_total{{cpu="0",mode="idle"}} {up - busy:.3f}\n'
            f'node_cpu_seconds_total{{cpu="0",mode="user"}} {busy:.3f}\n',
            "text/plain; version=0.0.4",
        )


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128


metrics = Server(("", 9100), Metrics)
threading.Thread(target=metrics.serve_forever, daemon=True).start()
Server(("", 8000), App).serve_forever()
