/// What makes jobs from SQL in the caller's own transaction: a function that anybody may be allowed
/// to call, and the table that it fills. Of PostgreSQL only.
enum InboxSchema {
  static let statements = tables + function

  private static let tables = [
    """
    CREATE TABLE job_inbox (
      number BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
      id UUID NOT NULL,
      queue TEXT NOT NULL,
      kind TEXT NOT NULL,
      parameters TEXT,
      run_time BIGINT,
      priority BIGINT NOT NULL,
      unique_key TEXT,
      unique_window BIGINT,
      timeout BIGINT,
      maximum_retries BIGINT,
      concurrency_key TEXT NOT NULL,
      tags TEXT[] NOT NULL,
      correlation_id TEXT NOT NULL,
      traceparent TEXT NOT NULL,
      role TEXT NOT NULL,
      create_time BIGINT NOT NULL,
      refusal TEXT
    )
    """,
    // Those that wait, queue by queue, so that a full one is not in the way of the others.
    "CREATE INDEX job_inbox_waiting ON job_inbox (queue, number) WHERE refusal IS NULL",
    "CREATE INDEX job_inbox_refused ON job_inbox (create_time) WHERE refusal IS NOT NULL",
    // What the function goes by and the server sets.
    """
    CREATE TABLE job_inbox_settings (
      id BIGINT NOT NULL PRIMARY KEY CHECK (id = 1),
      parameter_bytes BIGINT NOT NULL
    )
    """,
    "INSERT INTO job_inbox_settings (id, parameter_bytes) VALUES (1, 65536)",
  ]

  /// It runs with the rights of the tables' owner, so its search path holds nothing that others may
  /// write to: an operator of theirs that fits better than PostgreSQL's own would be run as the owner.
  /// Its tables are named with their schema in place of `@schema`. Nobody may call it who has not been
  /// allowed to. Source: PostgreSQL, CREATE FUNCTION, "Writing SECURITY DEFINER Functions Safely".
  ///
  /// It reads no row that other callers write: transactions with isolation level SERIALIZABLE would
  /// fail over it.
  private static let function = [
    """
    DO $do$ BEGIN EXECUTE replace($create$
    CREATE FUNCTION @schema.keelson_create_job(
      kind TEXT,
      parameters JSONB DEFAULT NULL,
      queue TEXT DEFAULT 'default',
      run_time TIMESTAMPTZ DEFAULT NULL,
      priority INTEGER DEFAULT 0,
      unique_key TEXT DEFAULT NULL,
      unique_window INTERVAL DEFAULT NULL,
      timeout INTERVAL DEFAULT NULL,
      maximum_retries INTEGER DEFAULT NULL,
      concurrency_key TEXT DEFAULT NULL,
      tags TEXT[] DEFAULT NULL,
      id UUID DEFAULT NULL,
      correlation_id TEXT DEFAULT NULL,
      traceparent TEXT DEFAULT NULL
    ) RETURNS UUID LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    \(body)
    $$
    $create$, '@schema', quote_ident(current_schema())); END $do$
    """,
    """
    REVOKE ALL ON FUNCTION keelson_create_job FROM PUBLIC
    """,
    """
    COMMENT ON FUNCTION keelson_create_job IS
      'Creates a job of Keelson once the transaction is committed, and returns its id.'
    """,
  ]

  /// The rules are those of `JobValidation`; the server looks again when it takes the job up.
  private static let body = """
    #variable_conflict use_variable
    DECLARE
      now_time TIMESTAMPTZ := clock_timestamp();
      now_microseconds BIGINT := floor(extract(epoch FROM now_time) * 1000000);
      parameter_text TEXT := parameters::TEXT;
      most_bytes BIGINT;
      problem TEXT;
    BEGIN
      queue := coalesce(queue, 'default');
      priority := coalesce(priority, 0);
      tags := coalesce(tags, '{}');
      most_bytes := (SELECT parameter_bytes FROM @schema.job_inbox_settings);
      problem := CASE
        WHEN coalesce(kind, '') = '' THEN 'kind: is required'
        WHEN octet_length(kind) > 128 OR kind !~ '^[A-Za-z0-9][A-Za-z0-9._/-]*$' THEN
          'kind: has 1 to 128 letters, digits, and, but at its start, ''.'', ''_'', ''-'', ''/'''
        WHEN octet_length(queue) > 128 OR queue !~ '^[A-Za-z0-9][A-Za-z0-9._/-]*$' THEN
          'queue: has 1 to 128 letters, digits, and, but at its start, ''.'', ''_'', ''-'', ''/'''
        WHEN octet_length(parameter_text) > most_bytes THEN
          format('parameters: has %s bytes; at most %s are allowed (the limit job-parameter-size)',
            octet_length(parameter_text), most_bytes)
        WHEN priority NOT BETWEEN -1000 AND 1000 THEN
          format('priority: %s is not from -1000 to 1000', priority)
        WHEN unique_key = '' OR octet_length(unique_key) > 256 THEN
          'unique_key: has 1 to 256 bytes'
        WHEN unique_window IS NOT NULL AND unique_key IS NULL THEN
          'unique_window: is for a unique_key, and there is none'
        WHEN unique_window NOT BETWEEN INTERVAL '1 millisecond' AND INTERVAL '365 days' THEN
          format('unique_window: %s is not from 1 millisecond to 365 days', unique_window)
        WHEN timeout NOT BETWEEN INTERVAL '1 millisecond' AND INTERVAL '7 days' THEN
          format('timeout: %s is not from 1 millisecond to 7 days', timeout)
        WHEN maximum_retries NOT BETWEEN 0 AND 100 THEN
          format('maximum_retries: %s is not from 0 to 100', maximum_retries)
        WHEN octet_length(concurrency_key) > 128 THEN
          format('concurrency_key: has %s bytes; at most 128 are allowed',
            octet_length(concurrency_key))
        WHEN cardinality(tags) > 32 THEN
          format('tags: has %s tags; at most 32 are allowed', cardinality(tags))
        WHEN array_ndims(tags) > 1 OR EXISTS (SELECT FROM unnest(tags) AS tag
          WHERE coalesce(tag, '') = '' OR octet_length(tag) > 128) THEN
          'tags: a list of texts of 1 to 128 bytes'
        WHEN run_time NOT BETWEEN TIMESTAMPTZ '0001-01-01 00:00:00Z'
          AND TIMESTAMPTZ '9999-12-31 23:59:59Z' THEN
          format('run_time: %s is not in the years 1 to 9999', run_time)
        WHEN correlation_id !~ '^[ -~]{1,128}$' THEN
          'correlation_id: has 1 to 128 printable characters of ASCII'
        WHEN traceparent !~ '^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$' THEN
          'traceparent: is as W3C Trace Context says'
      END;
      IF problem IS NOT NULL THEN
        RAISE EXCEPTION 'The job cannot be created. %', problem
          USING ERRCODE = 'invalid_parameter_value';
      END IF;
      -- A UUIDv7, with the fraction of its millisecond, so that ids follow the order of the calls.
      id := coalesce(id, encode(
        substring(int8send(now_microseconds / 1000) FROM 3)
          || substring(int4send((28672 + now_microseconds % 1000 * 4096 / 1000)::INTEGER) FROM 3)
          || substring(uuid_send(gen_random_uuid()) FROM 9), 'hex')::UUID);
      INSERT INTO @schema.job_inbox (id, queue, kind, parameters, run_time, priority, unique_key,
        unique_window, timeout, maximum_retries, concurrency_key, tags, correlation_id, traceparent,
        role, create_time)
      VALUES (id, queue, kind, parameter_text,
        floor(extract(epoch FROM run_time) * 1000000), priority, unique_key,
        floor(extract(epoch FROM unique_window) * 1000000),
        floor(extract(epoch FROM timeout) * 1000000), maximum_retries,
        coalesce(concurrency_key, ''), tags, coalesce(correlation_id, ''),
        coalesce(traceparent, ''), session_user, now_microseconds);
      RETURN id;
    END
    """
}
