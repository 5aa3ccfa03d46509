"""Clients and servers of Python's standard library, unmodified, in virtual time."""

import ftplib
import http.client
import http.server
import selectors
import smtplib
import socket
import socketserver
import threading
import urllib.error
import urllib.request
import xmlrpc.client
import xmlrpc.server

import pytest

pytestmark = pytest.mark.feature("Applications", "Python's own clients and servers, unmodified")


class Page(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = f"this is {self.path}".encode() * (5000 if self.path == "/long" else 1)
        self.send_response(404 if self.path == "/none" else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        self.path = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.do_GET()

    def log_message(self, *args):
        pass


def web(context=None, port=80):
    with http.server.ThreadingHTTPServer(("", port), Page) as server:
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        server.serve_forever()


def test_http_client(two):
    a, b = two
    b.spawn(web)
    with a:
        connection = http.client.HTTPConnection("b")
        for path in ("/one", "/long", "/two"):  # on one connection
            connection.request("GET", path)
            assert connection.getresponse().read().startswith(f"this is {path}".encode())
        connection.close()


def test_urllib(two):
    a, b = two
    b.spawn(web)
    with a:
        assert urllib.request.urlopen("http://b/page").read() == b"this is /page"
        assert urllib.request.urlopen("http://b/", data=b"posted").read() == b"this is posted"
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen("http://b/none")
        with pytest.raises(urllib.error.URLError, match="refused"):
            urllib.request.urlopen("http://b:81/")


def test_https(two, tls):
    a, b = two
    b.spawn(web, tls[1], 443)
    with a:
        assert urllib.request.urlopen("https://b/secret", context=tls[0]).read() == b"this is /secret"
        connection = http.client.HTTPSConnection("b", context=tls[0])
        connection.request("GET", "/long")
        assert len(connection.getresponse().read()) == 5000 * len("this is /long")
        connection.close()


def test_a_server_in_a_thread_that_is_shut_down(two):
    a, b = two
    with b:
        server = http.server.ThreadingHTTPServer(("", 80), Page)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
    with a:
        assert urllib.request.urlopen("http://b/").status == 200
    with b:
        server.shutdown()
        thread.join()
        server.server_close()
    with a, pytest.raises(urllib.error.URLError, match="refused"):
        urllib.request.urlopen("http://b/")


@pytest.mark.parametrize(
    "kind", [socketserver.TCPServer, socketserver.ThreadingTCPServer, socketserver.UDPServer]
)
def test_socketserver(two, kind):
    a, b = two

    class Upper(socketserver.DatagramRequestHandler if kind.socket_type == socket.SOCK_DGRAM
                else socketserver.StreamRequestHandler):  # fmt: skip
        def handle(self):
            self.wfile.write(self.rfile.readline().upper())

    def serve():
        with kind(("", 7), Upper) as server:
            server.serve_forever()

    b.spawn(serve)
    with a, socket.socket(socket.AF_INET, kind.socket_type) as s:
        b.sleep(1)
        s.connect(("b", 7))
        s.sendall(b"hello\n")
        assert s.recv(100) == b"HELLO\n"


def test_xmlrpc(two):
    a, b = two

    def serve():
        with xmlrpc.server.SimpleXMLRPCServer(("", 8000), logRequests=False) as server:
            server.register_function(pow)
            server.serve_forever()

    b.spawn(serve)
    with a, xmlrpc.client.ServerProxy("http://b:8000") as proxy:
        assert proxy.pow(2, 10) == 1024
        with pytest.raises(xmlrpc.client.Fault):
            proxy.none()


def test_a_selectors_server(two):
    a, b = two

    def serve():
        selector, listener = selectors.DefaultSelector(), socket.create_server(("", 7))
        selector.register(listener, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is listener:
                    selector.register(listener.accept()[0], selectors.EVENT_READ)
                elif data := key.fileobj.recv(1000):
                    key.fileobj.sendall(data.upper())
                else:
                    selector.unregister(key.fileobj)
                    key.fileobj.close()

    b.spawn(serve)
    with a:
        clients = [socket.create_connection(("b", 7)) for _ in range(10)]
        for number, client in enumerate(clients):
            client.sendall(b"n%d" % number)
        assert [client.recv(10) for client in clients] == [b"N%d" % number for number in range(10)]


class Mail(socketserver.StreamRequestHandler):
    """As little of SMTP (RFC 5321) as `smtplib` needs."""

    def handle(self):
        self.wfile.write(b"220 b\r\n")
        data = False
        for line in self.rfile:
            if data:
                self.server.letter.append(line)
                data = line != b".\r\n"
                answer = b"" if data else b"250 taken\r\n"
            else:
                word = line[:4].upper()
                data = word == b"DATA"
                answer = {b"DATA": b"354 go on\r\n", b"QUIT": b"221 bye\r\n"}.get(word, b"250 b\r\n")
            self.wfile.write(answer)
            if answer[:3] == b"221":
                return


def test_smtplib(two):
    a, b = two
    letter = []

    def serve():
        with socketserver.ThreadingTCPServer(("", 25), Mail) as server:
            server.letter = letter
            server.serve_forever()

    b.spawn(serve)
    with a, smtplib.SMTP("b") as smtp:
        smtp.sendmail("me@a", ["you@b"], "Subject: hi\r\n\r\nhello\r\n")
    assert b"hello\r\n" in letter


def test_ftplib_says_who_refused(two):
    with two[0], pytest.raises(ConnectionRefusedError):
        ftplib.FTP("b")
