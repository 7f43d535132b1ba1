#include <sqlite3.h>

// sqlite3_config is variadic, which Swift cannot call. Without statistics SQLite's allocator needs
// no lock. Must come before the first connection of the process.
static inline int keelson_sqlite3_disable_memory_statistics(void) {
  return sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
}

// sqlite3_db_config is variadic, which Swift cannot call.
static inline int keelson_sqlite3_set_defensive(sqlite3 *database) {
  return sqlite3_db_config(database, SQLITE_DBCONFIG_DEFENSIVE, 1, (int *)0);
}
