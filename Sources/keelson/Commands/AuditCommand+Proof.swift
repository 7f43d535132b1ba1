import Glibc
import KeelsonAPI
import KeelsonAuditTrail
import KeelsonClient
import KeelsonCore

extension AuditCommand {
  static let export = Command(
    name: "export", summary: "Export entries, oldest first, as NDJSON or CSV",
    discussion: """
      'keelson audit verify FILE' checks the file without a server. Without filters it is a run of \
      the chain, and proves that nothing in it was changed, taken out or put in; with filters it \
      proves each entry, but not that none is missing, and 'verify' wants --filtered.
      """,
    options: AuditOptions.filter + [
      .init(
        name: "format", value: "FORMAT", help: "The form of the file.", defaultValue: "ndjson",
        choices: ["ndjson", "csv"]),
      .init(
        name: "file", value: "FILE",
        help: "Where to write it; to standard output when not given."),
      .init(name: "after", value: "SEQUENCE", help: "Only entries after this one."),
      .init(name: "up-to", value: "SEQUENCE", help: "Only entries up to this one."),
    ] + Session.streamOptions.filter { $0.name != "output" }
  ) { invocation in
    let request = KeelsonAuditV1.ExportEntriesRequest(
      filter: try AuditOptions.filter(invocation),
      format: invocation.option("format") == "csv" ? .csv : .ndjson,
      afterSequence: try invocation.integer("after") ?? 0,
      upToSequence: try invocation.integer("up-to") ?? 0)
    try await Session.run(invocation) { session in
      let file = try OutputFile(invocation.option("file"))
      var progress = Progress(isShown: invocation.has("file") || isatty(STDOUT_FILENO) == 0)
      defer { progress.finish() }
      for try await piece in session.client.audit.export(request) {
        try file.write(piece.data)
        progress.show(
          done: piece.sequence - request.afterSequence,
          of: piece.lastSequence - request.afterSequence, "\(piece.entries) entries")
      }
      try file.finish()
    }
  }

  static let verify = Command(
    name: "verify", summary: "Check the trail, an export or an archive",
    discussion: """
      Without FILE the server checks what it has. With FILE the file is checked here, without a \
      server: NDJSON, CSV, or an archive with the manifest beside it. What does not fit is named, \
      and the exit status is 1.
      """,
    arguments: [.init(name: "FILE", help: "An export or an archive.", isOptional: true)],
    options: [
      .init(
        name: "from", value: "SEQUENCE", help: "Without FILE: the first entry, not the oldest."),
      .init(name: "to", value: "SEQUENCE", help: "Without FILE: the last entry, not the newest."),
      .init(
        name: "checkpoint", value: "FILE",
        help: "A checkpoint that was kept (audit checkpoints --output json): the file has to reach "
          + "as far. Needs --public-key.", isRepeatable: true),
      .init(
        name: "public-key", value: "FILE",
        help: "The key that signs checkpoints and archives, PEM (audit keys).",
        isRepeatable: true),
      .init(name: "manifest", value: "FILE", help: "The manifest of an archive, if not beside it."),
      .init(
        name: "filtered",
        help: "The file was exported with filters: gaps are meant, and only what is in it is "
          + "checked."),
    ] + AuditOptions.patientSession
  ) { invocation in
    if let path = invocation.arguments["FILE"] {
      for name in ["from", "to"] where invocation.has(name) {
        throw UsageError("--\(name) is for checking what the server has; a FILE is checked whole.")
      }
      let report = try AuditFileCheck(invocation).run(path)
      switch Output(invocation).format {
      case .json: try Output.line(report.json.text)
      case .table: try Output.line(report.sheet)
      }
      guard report.isValid else { throw SilentFailure() }
      return
    }
    for name in ["checkpoint", "public-key", "manifest", "filtered"] where invocation.has(name) {
      throw UsageError("--\(name) is for checking a FILE.")
    }
    let range = (
      from: try invocation.integer("from") ?? 0 as Int64,
      to: try invocation.integer("to") ?? 0 as Int64
    )
    try await Session.run(invocation) { session in
      let report = try await session.client.admin.audit.verifyEntries(
        .init(startSequence: range.from, endSequence: range.to))
      try session.output.print(report) { report.sheet }
      guard report.valid else { throw SilentFailure() }
    }
  }

  static let checkpoints = Command(
    name: "checkpoints", summary: "List signed checkpoints, show one, or sign one now",
    discussion: """
      Keep checkpoints where nobody who runs the server can reach them: with one, a trail that was \
      rewritten or cut off is found out.
      """,
    arguments: [
      .init(name: "NUMBER", help: "Show this one; 'latest' for the newest.", isOptional: true)
    ],
    options: [.init(name: "sign", help: "Sign one now, and show it.")]
      + [FlagOptions.pageSize, FlagOptions.pageToken] + Session.options
  ) { invocation in
    let name = invocation.arguments["NUMBER"]
    let number = name == "latest" ? 0 : name.flatMap { Int64($0) }
    guard name == nil || number != nil else {
      throw UsageError("A checkpoint goes by its number, or 'latest', not '\(name ?? "")'.")
    }
    try await Session.run(invocation) { session in
      let service = session.client.admin.audit
      if invocation.has("sign") || number != nil {
        let checkpoint =
          if let number {
            try await service.getCheckpoint(.init(number: number))
          } else {
            try await service.createCheckpoint(.init())
          }
        return try session.output.print(checkpoint) { checkpoint.sheet }
      }
      let answer = try await service.listCheckpoints(
        .init(
          pageSize: try invocation.integer("page-size") ?? 0,
          pageToken: invocation.option("page-token") ?? ""))
      try session.output.print(answer) { answer.table }
    }
  }

  static let keys = Command(
    name: "keys", summary: "Show the public keys that checkpoints and archives are signed with",
    options: [.init(name: "pem", help: "Only the current key, as a PEM file has it.")]
      + Session.options
  ) { invocation in
    try await Session.run(invocation) { session in
      let answer = try await session.client.admin.audit.listSigningKeys(.init())
      guard invocation.has("pem") else { return try session.output.print(answer) { answer.table } }
      guard let current = answer.keys.first(where: \.current) else {
        throw RPCError(.notFound, "The server names no current key.")
      }
      try Output.line(String(current.publicKey.drop { $0 == "\n" }.dropLast()))
    }
  }
}
