"""Uploads 30 MB with http.client and prints the whole answer: `upload1.py <url>`."""

import http.client
import sys
import urllib.parse

url = urllib.parse.urlsplit(sys.argv[1])
connection = http.client.HTTPConnection(url.netloc)
try:
    connection.request("POST", url.path, body=bytes(30_000_000))
except (BrokenPipeError, ConnectionResetError):
    # The server wants no more of it; as urllib3 does, see what it answered.
    pass
answer = connection.getresponse()
print(answer.status, answer.read().decode(), end="")
