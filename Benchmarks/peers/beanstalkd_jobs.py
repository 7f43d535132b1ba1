"""What dev/bench jobs runs of beanstalkd: beanstalkd_jobs.py put|drain|work|steady PORT ...

`drain` and `work` are one worker process each; times are CLOCK_MONOTONIC, which all processes
share.
"""

import json
import selectors
import signal
import socket
import sys
import time


class Connection:
    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.input = self.socket.makefile("rb")

    def send(self, data):
        self.socket.sendall(data)

    def expect(self, word):
        line = self.input.readline().split()
        if not line or line[0] != word:
            raise SystemExit(f"beanstalkd says {line}, not {word}")
        return line[1:]

    def reserved(self):
        """The id and the body of a job; None when there are none left."""
        line = self.input.readline().split()
        if line and line[0] == b"TIMED_OUT":
            return None
        if not line or line[0] != b"RESERVED":
            raise SystemExit(f"beanstalkd says {line}")
        body = self.input.read(int(line[2]) + 2)[:-2]
        return line[1], body


def put_command(body):
    return b"put 0 0 60 %d\r\n%s\r\n" % (len(body), body)


def put(port, jobs, ahead, callers):
    """`callers` connections with `ahead` jobs under way on each."""
    connections = [Connection(port) for _ in range(callers)]
    start = time.monotonic()
    done = 0
    while done < jobs:
        for connection in connections:
            connection.send(put_command(b"{}") * ahead)
        for connection in connections:
            for _ in range(ahead):
                connection.expect(b"INSERTED")
        done += ahead * callers
    return {"per_second": done / (time.monotonic() - start)}


def drain(port, ahead):
    connection = Connection(port)
    start = end = time.monotonic()
    jobs = 0
    while True:
        connection.send(b"reserve-with-timeout 0\r\n" * ahead)
        taken = [job for job in (connection.reserved() for _ in range(ahead)) if job]
        if not taken:
            return {"start": start, "end": end, "jobs": jobs}
        connection.send(b"".join(b"delete %s\r\n" % name for name, _ in taken))
        for _ in taken:
            connection.expect(b"DELETED")
        jobs += len(taken)
        end = time.monotonic()


def work(port):
    """One job after the other, until SIGTERM."""
    is_over = []
    signal.signal(signal.SIGTERM, lambda *_: is_over.append(True))
    connection = Connection(port)
    pickups = []
    start = time.monotonic()
    jobs = 0
    while not is_over:
        connection.send(b"reserve-with-timeout 1\r\n")
        job = connection.reserved()
        if job:
            jobs += 1
            if job[1] != b"{}":
                pickups.append((time.monotonic() - float(job[1])) * 1000)
            connection.send(b"delete %s\r\n" % job[0])
            connection.expect(b"DELETED")
    return {"start": start, "jobs": jobs, "pickups": pickups}


def steady(port, jobs, per_second):
    """At a steady pace, whether or not those before are answered."""
    connection = Connection(port)
    answers = selectors.DefaultSelector()
    answers.register(connection.socket, selectors.EVENT_READ)
    start = time.monotonic()
    sent = 0
    while sent < jobs:
        left = start + sent / per_second - time.monotonic()
        if left > 0:
            if answers.select(left):
                connection.socket.recv(65536)
            continue
        connection.send(put_command(str(time.monotonic()).encode()))
        sent += 1
    return {}


def main():
    mode, *rest = sys.argv[1:]
    runs = {"put": put, "drain": drain, "work": work, "steady": steady}
    print(json.dumps(runs[mode](*(int(number) for number in rest))))


if __name__ == "__main__":
    main()
