"""Jobs made by SQL in the caller's own transaction, on PostgreSQL."""

import threading

import pytest
from keelson.jobs.v1 import jobs_pb2 as jobs
from keelson.jobs.v1 import jobs_pb2_grpc as jobs_grpc

from working import Worker


class Place:
    """A database, servers on it, and callers that speak SQL."""

    def __init__(self, postgres, launch, dial):
        self.postgres, self.launch, self.dial = postgres, launch, dial
        self.url = postgres.create_database()
        self.database = self.url.rsplit("/", 1)[1]
        self.workers = []

    def serve(self, *arguments, **options):
        return self.launch(arguments=["--database", self.url, *arguments], **options)

    def sql(self, sql, **user):
        return self.postgres.query(sql, self.database, **user)

    def service(self, server):
        return jobs_grpc.JobsServiceStub(self.dial(server).channel)

    def worker(self, server, **options):
        worker = Worker(self.dial(server).channel, **options)
        self.workers.append(worker)
        return worker

    def count(self, table="jobs"):
        return int(self.sql(f"SELECT count(*) FROM {table}")[0])


@pytest.fixture
def place(postgres, launch, dial):
    place = Place(postgres, launch, dial)
    yield place
    for worker in place.workers:
        worker.break_off()


def ids_of(worker):
    return [leased.lease.job_id for leased in worker.jobs]


def test_a_committed_transaction_makes_a_job_that_runs(place):
    server = place.serve()
    worker = place.worker(server)
    (made,) = place.sql(
        """
        BEGIN;
        CREATE TABLE orders (number INTEGER);
        INSERT INTO orders VALUES (4711);
        SELECT keelson_create_job('test', jsonb_build_object('order', 4711), tags => ARRAY['shop']);
        COMMIT;
        """
    )
    worker.wait_for(lambda: worker.receipts)
    (leased,) = worker.jobs
    assert leased.lease.job_id == made
    assert leased.parameters.json == '{"order": 4711}' and list(leased.tags) == ["shop"]
    job = place.service(server).GetJob(jobs.GetJobRequest(id=made))
    assert job.state == jobs.JOB_STATE_COMPLETED
    assert job.creator == "postgresql:keelson"
    assert place.count("job_inbox") == 0


def test_a_rollback_leaves_nothing(place):
    server = place.serve()
    worker = place.worker(server)
    place.sql("BEGIN; SELECT keelson_create_job('test'); ROLLBACK;")
    place.sql("BEGIN; SELECT keelson_create_job('test'); SAVEPOINT a;"
              "SELECT keelson_create_job('test', '1'); ROLLBACK TO a; COMMIT;")
    (later,) = place.sql("SELECT keelson_create_job('test', '2')")
    worker.wait_for(lambda: later in ids_of(worker))
    assert [leased.parameters.json for leased in worker.jobs] == ["", "2"]
    assert place.count() == 2


def test_what_is_wrong_fails_the_callers_statement(place):
    place.serve()
    with pytest.raises(AssertionError, match="cannot be created. kind: has 1 to 128 letters"):
        place.sql("SELECT keelson_create_job('a b')")
    with pytest.raises(AssertionError, match="priority: 5000 is not from -1000 to 1000"):
        place.sql("SELECT keelson_create_job('a', priority => 5000)")
    assert place.count("job_inbox") == 0


def test_a_thousand_of_one_transaction_run_once_each(place):
    server = place.serve()
    worker = place.worker(server, credit=1000)
    made = place.sql(
        "SELECT keelson_create_job('test', to_jsonb(n)) FROM generate_series(1, 1000) AS n"
    )
    worker.wait_for(lambda: len(worker.receipts) == 1000)
    assert sorted(ids_of(worker)) == sorted(made)
    assert made == sorted(made)


@pytest.mark.parametrize("owner", [False, True], ids=["one user", "tables of an owner"])
def test_a_role_with_the_right_to_call_needs_no_other(place, owner):
    if owner:
        place.sql("DROP ROLE IF EXISTS server; CREATE ROLE server LOGIN PASSWORD 'server-pw'")
        place.sql("ALTER DEFAULT PRIVILEGES "
                  "GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO server")
        serving = place.postgres.url(place.database, "server", "server-pw")
        server = place.launch(
            arguments=["--database", serving, "--database-owner", place.url]
        )
    else:
        server = place.serve()
    shop = {"user": "shop", "password": "shop-pw"}
    place.sql("DROP ROLE IF EXISTS shop; CREATE ROLE shop LOGIN PASSWORD 'shop-pw'")
    with pytest.raises(AssertionError, match="permission denied for function"):
        place.sql("SELECT keelson_create_job('test')", **shop)
    place.sql("GRANT EXECUTE ON FUNCTION keelson_create_job TO shop")
    # Neither a table nor a function nor an operator of its own takes the place of what the function
    # asks: each of these would fail the call, with the owner's rights.
    place.sql("GRANT CREATE ON SCHEMA public TO shop")
    place.sql(
        """
        CREATE FUNCTION public.taken(bigint, integer) RETURNS bigint LANGUAGE sql AS
          $$ SELECT 1 / (CASE WHEN current_user = 'shop' THEN 1 ELSE 0 END)::bigint $$;
        CREATE OPERATOR public.% (FUNCTION = public.taken, LEFTARG = bigint, RIGHTARG = integer);
        CREATE OPERATOR public./ (FUNCTION = public.taken, LEFTARG = bigint, RIGHTARG = integer);
        """, **shop)
    (made,) = place.sql(
        """
        CREATE TEMPORARY TABLE job_inbox_settings AS SELECT 1 AS id, 0 AS parameter_bytes;
        SET search_path = pg_temp, public;
        SELECT public.keelson_create_job('test', '"as large as this"');
        """, **shop)
    worker = place.worker(server)
    worker.wait_for(lambda: worker.receipts)
    assert ids_of(worker) == [made]
    job = place.service(server).GetJob(jobs.GetJobRequest(id=made))
    assert job.creator == "postgresql:shop"
    for sql in ("SELECT * FROM job_inbox", "DELETE FROM jobs", "DELETE FROM job_inbox_settings"):
        with pytest.raises(AssertionError, match="permission denied"):
            place.sql(sql, **shop)
    worker.break_off()
    server.stop()
    place.sql("DROP OWNED BY shop; DROP ROLE shop")
    if owner:
        place.sql("DROP OWNED BY server; DROP ROLE server")


def test_a_job_made_while_no_server_runs_is_taken_up_later(place):
    server = place.serve()
    server.stop()
    (made,) = place.sql("SELECT keelson_create_job('test')")
    server.start()
    worker = place.worker(server)
    worker.wait_for(lambda: worker.receipts)
    assert ids_of(worker) == [made]


def test_a_server_that_is_killed_takes_up_each_job_once(place):
    server = place.serve(limits=["job-inbox-rows=10"])
    made = []
    for _ in range(3):
        with place.postgres.session(place.database) as psql:
            # Each statement is a transaction.
            psql.stdin.write("SELECT keelson_create_job('test');\n" * 300)
            psql.stdin.flush()
            made.append(psql.stdout.readline().strip())
            server.kill()
            psql.stdin.close()
            made += psql.stdout.read().split()
        assert psql.returncode == 0
        server.start()
    assert len(made) == 900
    worker = place.worker(server, credit=1000)
    worker.wait_for(lambda: len(worker.receipts) == 900)
    assert sorted(ids_of(worker)) == sorted(made)
    assert place.count() == 900 and place.count("job_inbox") == 0


@pytest.mark.waits
def test_two_servers_take_up_each_job_once_and_one_goes_on_alone(place):
    first = place.serve()
    second = place.serve()
    workers = [place.worker(server, name=server.folder.name) for server in (first, second)]
    stop = threading.Event()
    made = []

    def make():
        while not stop.is_set():
            made.extend(place.sql("SELECT keelson_create_job('test') FROM generate_series(1, 20)"))

    maker = threading.Thread(target=make)
    maker.start()
    try:
        for worker in workers:
            worker.wait_for(lambda worker=worker: len(worker.receipts) > 20)
        # It came first, so it leads.
        first.kill()
        before = len(workers[1].receipts)
        workers[1].wait_for(lambda: len(workers[1].receipts) > before + 100)
    finally:
        stop.set()
        maker.join(60)
    service = place.service(second)

    watch = jobs.WatchJobsRequest(filter=jobs.JobFilter(queue="default"))
    watched = service.WatchJobs(watch, timeout=60)
    # What the worker of the first had and did not say is still its.
    while True:
        queue = service.GetQueue(jobs.GetQueueRequest(name="default"))
        if queue.completed + queue.running == len(made):
            break
        next(watched)
    assert place.count() == len(made) == len(set(made))
    assert place.count("job_inbox") == 0


def test_callers_whose_transactions_are_serializable_do_not_hinder_one_another(place):
    place.serve()
    sessions = [place.postgres.session(place.database) for _ in range(2)]
    begin = "BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT keelson_create_job('test');\n"
    made = []
    for psql in sessions:
        psql.stdin.write(begin)
        psql.stdin.flush()
        made.append(psql.stdout.readline())
    for psql in sessions:
        _, errors = psql.communicate("SELECT keelson_create_job('test'); COMMIT;", timeout=60)
        assert psql.returncode == 0, errors
    assert all(made)


def test_a_transaction_that_is_committed_in_two_phases_makes_its_job_with_the_second(place):
    server = place.serve()
    worker = place.worker(server)
    (first,) = place.sql(
        "BEGIN; SELECT keelson_create_job('test'); PREPARE TRANSACTION 'two phases';"
    )
    (second,) = place.sql("SELECT keelson_create_job('test')")
    worker.wait_for(lambda: worker.receipts)
    assert ids_of(worker) == [second]
    place.sql("COMMIT PREPARED 'two phases'")
    worker.wait_for(lambda: len(worker.receipts) == 2)
    assert ids_of(worker) == [second, first]


@pytest.mark.waits
def test_jobs_for_a_full_queue_wait_and_health_says_so(place):
    server = place.serve()
    service = place.service(server)
    service.UpdateQueue(
        jobs.UpdateQueueRequest(queue=jobs.Queue(name="small", limits=jobs.QueueLimits(depth=2)))
    )
    made = place.sql(
        "SELECT keelson_create_job('test', queue => 'small') FROM generate_series(1, 5)"
    )
    (other,) = place.sql("SELECT keelson_create_job('test')")
    worker = place.worker(server, queues=["default"])
    worker.wait_for(lambda: worker.receipts)
    assert ids_of(worker) == [other]
    assert place.count() == 3
    assert "their queue is full" in server.log_text()
    small = place.worker(server, queues=["small"])
    small.wait_for(lambda: len(small.receipts) == 5)
    assert sorted(ids_of(small)) == sorted(made)


def test_what_is_refused_later_is_told_and_kept(place):
    server = place.serve()
    stream = place.dial(server).subscribe("keelson.jobs.BackgroundJobRefused")
    (made,) = place.sql(
        "SELECT keelson_create_job('test', (repeat('[', 600) || repeat(']', 600))::jsonb)"
    )
    for response in stream:
        if response.WhichOneof("content") == "event":
            break
    stream.cancel()
    assert made in response.event.text_data and "parameters" in response.event.text_data
    (reason,) = place.sql("SELECT refusal FROM job_inbox")
    assert "is no JSON" in reason
    assert "Jobs made by SQL were refused" in server.log_text()
