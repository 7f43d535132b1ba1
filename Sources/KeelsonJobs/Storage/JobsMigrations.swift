package import KeelsonStore

/// The tables of the jobs service.
///
/// A job is one row: what its creator said as an encoded message (`body`), and beside it the
/// columns by which it is found and claimed, and those that change. States are the numbers of `JobState`,
/// times microseconds UTC.
package enum JobsMigrations {
  package static let all = MigrationSet(
    "jobs",
    [
      Migration(1, "jobs, attempts, queues and counts") { dialect in
        let integer = dialect.integerType
        let blob = dialect.blobType
        let suffix = dialect.tableSuffix
        return [
          """
          CREATE TABLE jobs (
            id \(blob) NOT NULL PRIMARY KEY,
            queue TEXT NOT NULL,
            kind TEXT NOT NULL,
            state \(integer) NOT NULL,
            priority \(integer) NOT NULL,
            rank \(integer) NOT NULL,
            create_time \(integer) NOT NULL,
            run_time \(integer) NOT NULL,
            start_time \(integer),
            end_time \(integer),
            attempt \(integer) NOT NULL,
            allowed_attempts \(integer) NOT NULL,
            hand_backs \(integer) NOT NULL,
            worker TEXT NOT NULL,
            session TEXT NOT NULL,
            lease_expire_time \(integer),
            deadline \(integer),
            cancel_time \(integer),
            timeout \(integer),
            concurrency_key TEXT NOT NULL,
            schedule TEXT NOT NULL,
            result \(blob),
            body \(blob) NOT NULL
          )\(suffix)
          """,
          // What may be claimed, in the order in which it is. `rank` is when it became pending, put
          // forward by its priority: so what waits long overtakes, and no row need be touched.
          "CREATE INDEX jobs_pending ON jobs (queue, kind, rank, id) WHERE state = 2",
          // The same by concurrency key, to step over those that may not run more.
          """
          CREATE INDEX jobs_pending_keys ON jobs (queue, kind, concurrency_key, rank, id)
          WHERE state = 2
          """,
          "CREATE INDEX jobs_scheduled ON jobs (run_time) WHERE state = 1",
          "CREATE INDEX jobs_leases ON jobs (lease_expire_time) WHERE state = 3",
          """
          CREATE INDEX jobs_running_keys ON jobs (queue, concurrency_key)
          WHERE state = 3 AND concurrency_key <> ''
          """,
          "CREATE INDEX jobs_ended ON jobs (queue, state, end_time) WHERE end_time IS NOT NULL",
          // Attempts that have ended and are not the newest, which stands in the job's own row.
          """
          CREATE TABLE job_attempts (
            job_id \(blob) NOT NULL,
            attempt \(integer) NOT NULL,
            body \(blob) NOT NULL,
            PRIMARY KEY (job_id, attempt)
          )\(suffix)
          """,
          """
          CREATE TABLE job_progress (
            job_id \(blob) NOT NULL PRIMARY KEY,
            attempt \(integer) NOT NULL,
            body \(blob) NOT NULL
          )\(suffix)
          """,
          """
          CREATE TABLE job_unique_keys (
            queue TEXT NOT NULL,
            kind TEXT NOT NULL,
            unique_key TEXT NOT NULL,
            job_id \(blob) NOT NULL,
            until_time \(integer),
            PRIMARY KEY (queue, kind, unique_key)
          )\(suffix)
          """,
          "CREATE INDEX job_unique_keys_of_job ON job_unique_keys (job_id)",
          // Kept with every change of state, so that nothing need count rows.
          """
          CREATE TABLE job_counts (
            queue TEXT NOT NULL,
            kind TEXT NOT NULL,
            state \(integer) NOT NULL,
            number \(integer) NOT NULL,
            PRIMARY KEY (queue, kind, state)
          )\(suffix)
          """,
          """
          CREATE TABLE job_schedules (
            name TEXT NOT NULL PRIMARY KEY,
            next_time \(integer),
            body \(blob) NOT NULL
          )\(suffix)
          """,
          "CREATE INDEX job_schedules_due ON job_schedules (next_time) WHERE next_time IS NOT NULL",
          """
          CREATE TABLE job_queues (
            name TEXT NOT NULL PRIMARY KEY,
            paused \(integer) NOT NULL,
            begun \(integer) NOT NULL,
            begun_since \(integer) NOT NULL,
            body \(blob) NOT NULL
          )\(suffix)
          """,
        ]
      },
      Migration(2, "alerts of queues' depths") { dialect in
        [
          """
          CREATE TABLE job_queue_alerts (
            queue TEXT NOT NULL PRIMARY KEY,
            since \(dialect.integerType) NOT NULL
          )\(dialect.tableSuffix)
          """
        ]
      },
      Migration(3, "jobs made by SQL") { dialect in
        dialect == .postgreSQL ? InboxSchema.statements : []
      },
    ])
}
