#include <libpq-fe.h>

// The fields of an error report are character constants, which Swift does not import.
static const int keelson_pg_diag_sqlstate = PG_DIAG_SQLSTATE;
static const int keelson_pg_diag_message = PG_DIAG_MESSAGE_PRIMARY;
static const int keelson_pg_diag_detail = PG_DIAG_MESSAGE_DETAIL;
static const int keelson_pg_diag_constraint = PG_DIAG_CONSTRAINT_NAME;
static const int keelson_pg_diag_severity = PG_DIAG_SEVERITY_NONLOCALIZED;
