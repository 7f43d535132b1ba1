#include <libpq-fe.h>

// The fields of an error report are character constants, which Swift does not import.
static const int keelson_pg_diag_sqlstate = PG_DIAG_SQLSTATE;
static const int keelson_pg_diag_message = PG_DIAG_MESSAGE_PRIMARY;
static const int keelson_pg_diag_detail = PG_DIAG_MESSAGE_DETAIL;
static const int keelson_pg_diag_constraint = PG_DIAG_CONSTRAINT_NAME;

// What TLS has decrypted and libpq has not read does not make the socket readable: whoever waits
// for the socket himself has to ask.
struct ssl_st;
extern int SSL_pending(const struct ssl_st *tls);

static inline int keelson_pg_tls_pending(PGconn *connection) {
  struct ssl_st *tls = (struct ssl_st *)PQsslStruct(connection, "OpenSSL");
  return tls ? SSL_pending(tls) : 0;
}
