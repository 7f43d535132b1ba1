import KeelsonCore
import KeelsonStore
import Testing

extension DatabaseConformance {
  static let transactions = [
    DatabaseConformance(things: "a write commits, a throwing one leaves nothing") { database in
      try await database.write { try await Things.insert("kept", in: $0) }
      await #expect(throws: Deliberate.self) {
        try await database.write { transaction in
          try await Things.insert("lost", in: transaction)
          throw Deliberate()
        }
      }
      #expect(try await Things.keys(in: database) == ["kept"])
    },

    DatabaseConformance(things: "concurrent writes fail alone") { database in
      await withTaskGroup { group in
        for number in 0..<60 {
          group.addTask {
            try? await database.write { transaction in
              try await Things.insert("\(number + 100)", in: transaction)
              if number % 3 == 0 { throw Deliberate() }
              // A statement that fails ends only the write that does not catch it.
              if number % 3 == 1 {
                try await transaction.execute("INSERT INTO things (key) VALUES ($1)", ["fixed"])
              }
            }
          }
        }
      }
      let keys = try await Things.keys(in: database)
      // One of the third kind of writers won the fixed key.
      #expect(keys.filter { $0 != "fixed" && (Int($0) ?? 0) % 3 == 0 }.count == 20)
      #expect(keys.contains("fixed"))
      #expect(keys.count == 22)
    },

    DatabaseConformance(things: "a broken unique key is a conflict that names its columns") {
      database in
      try await database.write { try await Things.insert("one", in: $0) }
      let error = await #expect(throws: StoreError.self) {
        try await database.write { try await Things.insert("one", in: $0) }
      }
      #expect(error?.code == .conflict)
      #expect(error?.constraint?.contains("things") == true)
    },

    DatabaseConformance(things: "a value of the wrong type is refused") { database in
      let code = try await storeErrorCode {
        _ = try await database.write {
          try await $0.execute("INSERT INTO things (key, number) VALUES ('a', 'x')")
        }
      }
      #expect(code == .constraint || code == .misuse)
    },

    DatabaseConformance(things: "a read keeps its snapshot") { database in
      try await database.write { try await Things.insert("before", in: $0) }
      let counts = try await database.read { transaction in
        let first = try await transaction.query("SELECT key FROM things").count
        try await database.write { try await Things.insert("meanwhile", in: $0) }
        return [first, try await transaction.query("SELECT key FROM things").count]
      }
      #expect(counts == [1, 1])
      #expect(try await Things.keys(in: database).count == 2)
    },

    DatabaseConformance(things: "a read cannot write") { database in
      await #expect(throws: StoreError.self) {
        try await database.read { try await Things.insert("sly", in: $0) }
      }
      let keys = try await Things.keys(in: database)
      #expect(keys == [])
    },

    DatabaseConformance(things: "a write inside a write is refused") { database in
      let code = try await storeErrorCode {
        try await database.write { _ in try await database.write { _ in } }
      }
      #expect(code == .misuse)
    },

    DatabaseConformance(things: "a transaction is of no use after its end") { database in
      let kept = try await database.write { $0 }
      let code = try await storeErrorCode { _ = try await kept.query("SELECT 1") }
      #expect(code == .misuse)
    },

    DatabaseConformance(things: "transactions are the engine's to begin and end") { database in
      for sql in ["COMMIT", " rollback", "BEGIN", "SAVEPOINT a"] {
        let code = try await storeErrorCode {
          _ = try await database.write { try await $0.execute(sql) }
        }
        #expect(code == .misuse)
      }
    },

    DatabaseConformance(things: "a closed database says so") { database in
      await database.close()
      let read = try await storeErrorCode { _ = try await Things.keys(in: database) }
      #expect(read == .closed)
      let write = try await storeErrorCode { try await database.write { _ in } }
      #expect(write == .closed)
    },

    DatabaseConformance(things: "the health check passes, and fails once closed") { database in
      let outcome = try await DatabaseHealthCheck(database).check()
      #expect(outcome == .healthy)
      #expect(database.writeFailure == nil)
      await database.close()
      await #expect(throws: RPCError.self) {
        _ = try await DatabaseHealthCheck(database).check()
      }
    },
  ]

  static let values = [
    DatabaseConformance(things: "values come back as they went in") { database in
      let rows: [[SQLValue]] = [
        ["a", .integer(.min), .real(-0.5), .text(""), .blob([])],
        ["b", .integer(.max), .real(.greatestFiniteMagnitude), "grüße 👋🏽", .blob([0, 255, 0])],
        ["c", .null, .null, .null, .null],
        [
          "d", 0, .real(.leastNonzeroMagnitude), .text(String(repeating: "x", count: 100_000)),
          .blob([1]),
        ],
      ]
      try await database.write { transaction in
        for row in rows {
          try await transaction.execute("INSERT INTO things VALUES ($1, $2, $3, $4, $5)", row)
        }
      }
      let found = try await database.read {
        try await $0.query("SELECT key, number, ratio, note, bytes FROM things ORDER BY key")
      }
      #expect(found.map(\.values) == rows)
    },

    DatabaseConformance(things: "parameters go by number, in any order and repeated") { database in
      let row = try await database.read {
        try await $0.first(
          """
          SELECT CAST($2 AS TEXT) AS second, CAST($1 AS TEXT) AS first, CAST($2 AS TEXT) AS again
          """, ["one", "two"])
      }
      #expect(try row?.get("first") == "one")
      #expect(try row?.get("second") == "two")
      #expect(try row?.get("again") == "two")
      let code = try await storeErrorCode {
        _ = try await database.read {
          try await $0.query("SELECT key FROM things WHERE key = $1", [])
        }
      }
      #expect(code == .misuse)
    },

    DatabaseConformance(things: "columns are read as what they are, or an error says why") {
      database in
      try await database.write { try await Things.insert("a", number: 1, in: $0) }
      let row = try #require(
        try await database.read { try await $0.first("SELECT key, number, note FROM things") })
      #expect(try row.get("number") == 1)
      #expect(try row.get("number", as: Bool.self))
      #expect(try row.get("note", as: String?.self) == nil)
      #expect(try row.get("key", as: String?.self) == "a")
      let missing = #expect(throws: StoreError.self) { try row.get("nothing", as: Int.self) }
      #expect(missing?.message == "The result has no column nothing; it has key, number, note.")
      let wrong = #expect(throws: StoreError.self) { try row.get("key", as: Int.self) }
      #expect(wrong?.message == "Column key holds a text, which is no Int.")
      #expect(throws: StoreError.self) { try row.get("note", as: String.self) }
      #expect(throws: StoreError.self) { try row.get(3, as: String.self) }
    },

    DatabaseConformance(things: "execute counts the rows it changed") { database in
      let counts = try await database.write { transaction in
        var counts = [
          try await transaction.execute("INSERT INTO things (key) VALUES ('a'), ('b')")
        ]
        counts.append(try await transaction.execute("CREATE TABLE others (id TEXT)"))
        counts.append(try await transaction.execute("UPDATE things SET number = 1 WHERE FALSE"))
        counts.append(try await transaction.execute("DELETE FROM things"))
        return counts
      }
      #expect(counts == [2, 0, 0, 2])
    },

    DatabaseConformance(things: "only one statement at a time") { database in
      let code = try await storeErrorCode {
        _ = try await database.write {
          try await $0.execute("DELETE FROM things; DELETE FROM things")
        }
      }
      #expect(code == .misuse)
    },
  ]

  static let cancellation = [
    DatabaseConformance(things: "cancelling ends a running read") { database in
      let started = Gate()
      let read = Task {
        try await database.read { transaction in
          started.open()
          // Without end, but for the cancellation.
          _ = try await transaction.query(
            """
            WITH RECURSIVE counted(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counted)
            SELECT max(n) FROM counted WHERE n < 0
            """)
        }
      }
      await started.wait()
      read.cancel()
      await #expect(throws: CancellationError.self) { try await read.value }
      let keys = try await Things.keys(in: database)
      #expect(keys == [])
    },

    DatabaseConformance(things: "cancelling ends a read whose statement has not begun") {
      database in
      for _ in 0..<20 {
        let (started, cancelled) = (Gate(), Gate())
        let read = Task {
          try await database.read { transaction in
            started.open()
            await cancelled.wait()
            _ = try await transaction.query(
              """
              WITH RECURSIVE counted(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counted)
              SELECT max(n) FROM counted WHERE n < 0
              """)
          }
        }
        await started.wait()
        read.cancel()
        cancelled.open()
        await #expect(throws: CancellationError.self) { try await read.value }
      }
      let keys = try await Things.keys(in: database)
      #expect(keys == [])
    },

    DatabaseConformance(things: "a cancelled write that waits gives up its turn") { database in
      let started = Gate()
      let mayEnd = Gate()
      let first = Task {
        try await database.write { transaction in
          try await Things.insert("first", in: transaction)
          started.open()
          await mayEnd.wait()
        }
      }
      await started.wait()
      let second = Task { try await database.write { try await Things.insert("second", in: $0) } }
      second.cancel()
      await #expect(throws: CancellationError.self) { try await second.value }
      mayEnd.open()
      try await first.value
      #expect(try await Things.keys(in: database) == ["first"])
    },
  ]
}
