"""Serves the Python package moto on a free port of loopback: EC2 as others understand it.

It prints its port on one line, and ends when standard input does, so it never outlives its test.
"""

import sys

from moto.server import ThreadedMotoServer

server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
