"""Google's own library for credentials, against the stand-in and against us.

    tokens KEY USER METADATA_HOST   gets a token in each of the three ways, and prints them, a line each
    verify KEY AUDIENCE             reads a signed request for a token from stdin, and prints its claims
"""

import json
import os
import sys
import urllib.error
import urllib.request

import google.auth.transport
from cryptography.hazmat.primitives import serialization
from google.auth import jwt
from google.oauth2 import credentials, service_account

SCOPES = ["https://www.googleapis.com/auth/compute"]


class Answer(google.auth.transport.Response):
    def __init__(self, status, headers, data):
        self._all = status, headers, data

    status = property(lambda self: self._all[0])
    headers = property(lambda self: self._all[1])
    data = property(lambda self: self._all[2])


class Request(google.auth.transport.Request):
    def __call__(self, url, method="GET", body=None, headers=None, timeout=None, **_):
        body = body.encode() if isinstance(body, str) else body
        asked = urllib.request.Request(url, data=body, headers=dict(headers or {}), method=method)
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            answer = direct.open(asked, timeout=10)
        except urllib.error.HTTPError as error:
            answer = error
        headers = {name.lower(): value for name, value in answer.headers.items()}
        return Answer(answer.status, headers, answer.read())


def tokens(key, user, host):
    request = Request()
    of_key = service_account.Credentials.from_service_account_file(key, scopes=SCOPES)
    of_key.refresh(request)
    print(of_key.token)
    of_user = credentials.Credentials.from_authorized_user_file(user)
    # It asks Google itself, whatever the file says.
    of_user._token_uri = json.load(open(user))["token_uri"]
    of_user.refresh(request)
    print(of_user.token)
    os.environ["GCE_METADATA_HOST"] = host
    from google.auth.compute_engine import _metadata

    token, _ = _metadata.get_service_account_token(request)
    print(token)


def verify(key, audience):
    pem = json.load(open(key))["private_key"].encode()
    public = serialization.load_pem_private_key(pem, None).public_key()
    public = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    print(json.dumps(jwt.decode(sys.stdin.read(), certs=public.decode(), audience=audience)))


{"tokens": tokens, "verify": verify}[sys.argv[1]](*sys.argv[2:])
