"""Serves the Python package fakepve to one test, on a free port of loopback, and does what the test tells it.

One line of JSON on standard input is one order: {"do": "...", ...}; one line on standard output answers it. The
first line says where it listens. It ends when standard input does, so it never outlives its test.
"""

import asyncio
import hashlib
import inspect
import json
import sys

from aiohttp import web
from fakepve import FakePve
from fakepve.certs import make_cert


class Pve(FakePve):
    """The fake, and what it can't do by itself: lose answers, hold them, speak as old versions do, list late."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        # Requests (method, end of the path) that are done, and whose answer is lost.
        self.lost = []
        # Errors stand only beside the status, as in old versions.
        self.terse = False
        # The list as it was.
        self.listed = None
        # How often the next free number is taken by somebody else as soon as it is told.
        self.thief = 0
        # Guests that do not run have no name in the list, as those that were just made.
        self.nameless = False
        # Where a request waits: (moment, method, end of the path), moment "before" or "after" the work.
        self.holds = None
        self.held = False

    async def _answer(self, request, handler, generic, path_node):
        await self._hold("before", request)
        response = await super()._answer(request, handler, generic, path_node)
        await self._hold("after", request)
        for method, end in self.lost:
            if request.method == method and request.path.endswith(end):
                if request.transport is not None:
                    request.transport.close()
                # Whoever asked is gone; nothing is written.
                raise asyncio.CancelledError
        if self.terse and response.status >= 400:
            response.body = b'{"data":null}'
        return response

    async def _hold(self, moment, request):
        if self.holds:
            wanted, method, end = self.holds
            if moment == wanted and request.method == method and request.path.endswith(end):
                self.holds = None
                self.held = True
                await asyncio.Event().wait()

    async def _nextid(self, v, user):
        number = await super()._nextid(v, user)
        if self.thief:
            self.thief -= 1
            self.add_vm(int(number), "stolen")
        return number

    async def _qm_clone(self, v, user):
        # The system inside has an address of its own.
        task = await super()._qm_clone(v, user)
        vm = self.vm(int(v["newid"]))
        if vm is not None:
            address = {"ip-address": "192.0.2.{0}".format(vm.vmid % 250), "ip-address-type": "ipv4", "prefix": 24}
            vm.agent = {"interfaces": [{"name": "eth0", "ip-addresses": [address]}]}
        return task

    async def _lxc_clone(self, user, v):
        task = await super()._lxc_clone(user, v)
        ct = self.ct(int(v["newid"]))
        if ct is not None:
            ct.config["net0"] = "name=eth0,bridge=vmbr0,ip=192.0.2.{0}/24".format(ct.vmid % 250)
        return task

    async def _resources(self, request):
        response = await super()._resources(request)
        if self.nameless:
            whole = json.loads(response.body)
            for guest in whole["data"]:
                if guest["status"] != "running":
                    guest.pop("name", None)
            response.body = json.dumps(whole).encode()
        if self.listed is not None:
            response.body = self.listed
        return response

    async def freeze_list(self, frozen):
        self.listed = None
        if frozen:
            class Whole:
                query = {"type": "vm"}
                def __getitem__(self, key):
                    return "root@pam"
            self.listed = (await super()._resources(Whole())).body


async def obey(pve, order):
    what = order["do"]
    if what == "call":
        # A method of the fake: its name, and its arguments.
        done = getattr(pve, order["name"])(*order.get("args", []), **order.get("kwargs", {}))
        if inspect.isawaitable(done):
            done = await done
        return done if isinstance(done, (str, int, list, dict)) else None
    if what == "set":
        # Attributes of the fake, or of one of its guests.
        thing = pve.guest(order["vmid"]) if "vmid" in order else pve
        for name, value in order["values"].items():
            if name == "pools":
                value = {pool: set(ids) for pool, ids in value.items()}
            if name == "pool_info":
                value = {pool: dict(info, storage=set(info["storage"])) for pool, info in value.items()}
            setattr(thing, name, value)
        return None
    if what == "get":
        thing = pve.guest(order["vmid"]) if "vmid" in order else pve
        return getattr(thing, order["name"]) if thing is not None else None
    if what == "guests":
        guests = pve.vms + pve.cts
        return [{"vmid": g.vmid, "name": g.name, "status": g.status, "lock": g.lock, "node": g.node,
                 "config": {k: str(v) for k, v in g.config.items()}} for g in guests]
    if what == "requests":
        return ["{0} {1} {2}".format(m, p, b.decode("utf-8", "replace")) for m, p, b in pve.requests]
    raise ValueError(what)


async def main(folder):
    certfile, keyfile, der = make_cert(folder)
    pve = Pve(host="127.0.0.1", port=0)
    await pve.start(certfile, keyfile)
    # What stands between it and a process that is killed speaks no TLS.
    await web.TCPSite(pve.runner, "127.0.0.1", 0).start()
    plain = [port for _, port in pve.runner.addresses if port != pve.port][0]
    print(json.dumps({"port": pve.port, "plain": plain, "ca": certfile, "sha256": hashlib.sha256(der).hexdigest()}), flush=True)
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := await lines.readline():
        try:
            answer = {"ok": await obey(pve, json.loads(line))}
        except Exception as error:  # The test reads what went wrong.
            answer = {"error": "{0}: {1}".format(type(error).__name__, error)}
        print(json.dumps(answer, default=str), flush=True)


asyncio.run(main(sys.argv[1]))
