"""Uploads 30 MB with the library h2 and prints the whole answer: `upload2.py <url>`."""

import socket
import sys
import urllib.parse

import h2.connection
import h2.events

LENGTH = 30_000_000
url = urllib.parse.urlsplit(sys.argv[1])
wire = socket.create_connection((url.hostname, url.port))
connection = h2.connection.H2Connection()
connection.initiate_connection()
stream = connection.get_next_available_stream_id()
head = {":method": "POST", ":scheme": "http", ":authority": url.netloc, ":path": url.path}
connection.send_headers(stream, list(head.items()))
status, body, sent, ended, wanted = "", b"", 0, False, True
while not ended:
    while wanted and sent < LENGTH:
        room = connection.local_flow_control_window(stream)
        room = min(room, connection.max_outbound_frame_size, LENGTH - sent)
        if room <= 0:
            break
        sent += room
        connection.send_data(stream, bytes(room), end_stream=sent == LENGTH)
    wire.sendall(connection.data_to_send())
    data = wire.recv(65536)
    if not data:
        sys.exit("the connection ended")
    for event in connection.receive_data(data):
        if isinstance(event, h2.events.ResponseReceived):
            status = dict(event.headers)[b":status"].decode()
        elif isinstance(event, h2.events.DataReceived):
            body += event.data
            connection.acknowledge_received_data(event.flow_controlled_length, stream)
        elif isinstance(event, h2.events.StreamEnded):
            ended = True
        elif isinstance(event, h2.events.StreamReset) and not ended:
            sys.exit(f"reset with {event.error_code} before the end of the answer")
        elif isinstance(event, h2.events.ConnectionTerminated) and not ended:
            sys.exit("the connection was given up")
print(status, body.decode(), end="")
