"""A program that connects to this machine, and to an address that belongs to nobody (RFC 5737)."""

import socket


def main() -> None:
    socket.socket().connect_ex(("127.0.0.1", 9))
    outward = socket.socket()
    outward.setblocking(False)
    outward.connect_ex(("192.0.2.1", 9))


if __name__ == "__main__":
    main()
