#include <sqlite3.h>

// sqlite3_db_config is variadic, which Swift cannot call.
static inline int keelson_sqlite3_set_defensive(sqlite3 *database) {
  return sqlite3_db_config(database, SQLITE_DBCONFIG_DEFENSIVE, 1, (int *)0);
}
