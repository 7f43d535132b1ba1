import Glibc

/// How many files the system lets this process have open. Each connection is one.
package enum OpenFiles {
  /// What the server needs beside its connections: the database, its own sockets and pipes.
  static let reserve = 256

  /// Raises the soft limit so far that the connections fit, as far as the hard one allows.
  ///
  /// - Returns: how many connections fit now, when they are fewer than wanted.
  package static func makeRoom(forConnections connections: Int) -> Int? {
    var limit = rlimit()
    guard unsafe getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else {
      return nil
    }
    let wanted = rlim_t(connections + reserve)
    if limit.rlim_cur < wanted {
      limit.rlim_cur = min(wanted, limit.rlim_max)
      _ = unsafe setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    }
    guard limit.rlim_cur < wanted else { return nil }
    return max(0, Int(limit.rlim_cur) - reserve)
  }
}
