import KeelsonAPI
import KeelsonClient
import KeelsonCore

extension AuditCommand {
  static let retention = Command(
    name: "retention", summary: "Show the retention policy, or change what is named",
    options: [
      .init(
        name: "default", value: "TIME", help: "How long entries are kept: 365d, or forever."),
      .init(
        name: "category", value: "NAME=TIME",
        help: "How long those of a category are kept; NAME= lets the default apply again.",
        isRepeatable: true),
      .init(
        name: "archive-interval", value: "TIME",
        help: "How often the server archives by itself: 1d, or never."),
      .init(
        name: "audit-reads", value: "on|off",
        help: "Whether reading the trail is recorded too.", choices: ["on", "off"]),
      FlagOptions.etag,
    ] + Session.options
  ) { invocation in
    try await Session.run(invocation) { session in
      let service = session.client.admin.audit
      var policy = try await service.getRetentionPolicy(.init())
      let changes = ["default", "category", "archive-interval", "audit-reads"]
      guard changes.contains(where: invocation.has) else {
        return try session.output.print(policy) { policy.sheet }
      }
      if let etag = invocation.option("etag") { policy.etag = etag }
      if let text = invocation.option("default") {
        policy.defaultRetention = try AuditOptions.duration(text, "default")
      }
      for pair in invocation.all("category") {
        guard let equals = pair.firstIndex(of: "="), equals > pair.startIndex else {
          throw UsageError("--category takes NAME=TIME, access=30d for example, not '\(pair)'.")
        }
        let time = String(pair[pair.index(after: equals)...])
        policy.categories[String(pair[..<equals])] =
          time.isEmpty ? nil : try AuditOptions.duration(time, "category")
      }
      if let text = invocation.option("archive-interval") {
        policy.archiveInterval = try AuditOptions.duration(text, "archive-interval")
      }
      if let word = invocation.option("audit-reads") { policy.auditReads = word == "on" }
      let updated = try await service.updateRetentionPolicy(.init(policy: policy))
      try session.output.print(updated) { updated.sheet }
    }
  }

  static let archive = Command(
    name: "archive", summary: "Move entries whose time is over to archives, now",
    options: [
      .init(name: "dry-run", help: "Only say what would be archived and deleted."),
      .init(
        name: "before", value: "TIME",
        help: "Archive what was recorded before then, whatever the policy says; what the policy "
          + "keeps stays in the database too."),
    ] + AuditOptions.patientSession
  ) { invocation in
    let before = try FlagOptions.time("before", invocation)
    try await Session.run(invocation) { session in
      let answer = try await session.client.admin.audit.archiveEntries(
        .init(validateOnly: invocation.has("dry-run"), beforeTime: before))
      try session.output.print(answer) { answer.text(isPlan: invocation.has("dry-run")) }
    }
  }

  static let archives = Command(
    name: "archives", summary: "List archives, show one, or fetch its file",
    arguments: [.init(name: "NAME", help: "Show this one.", isOptional: true)],
    options: [
      .init(
        name: "file", value: "FILE",
        help: "Write the archive NAME to this file, and its manifest beside it.")
    ] + [FlagOptions.pageSize, FlagOptions.pageToken] + Session.options
  ) { invocation in
    let name = invocation.arguments["NAME"]
    guard name != nil || !invocation.has("file") else {
      throw UsageError("--file needs the NAME of an archive.")
    }
    try await Session.run(invocation) { session in
      let service = session.client.admin.audit
      guard let name else {
        let answer = try await service.listArchives(
          .init(
            pageSize: try invocation.integer("page-size") ?? 0,
            pageToken: invocation.option("page-token") ?? ""))
        return try session.output.print(answer) { answer.table }
      }
      let archive = try await service.getArchive(.init(name: name))
      if let path = invocation.option("file") {
        guard path != "-" else {
          throw UsageError("--file takes a file's name: the manifest goes beside it.")
        }
        let file = try OutputFile(path)
        var progress = Progress(isShown: true)
        defer { progress.finish() }
        var done: Int64 = 0
        for try await piece in service.downloadArchive(.init(name: name)) {
          try file.write(piece.data)
          done += Int64(piece.data.count)
          progress.show(done: done, of: archive.sizeBytes, "\(done >> 10) KiB")
        }
        try file.finish()
        let manifest = try OutputFile(path + AuditFileCheck.manifestSuffix)
        try manifest.write(Array((AuditFileCheck.manifest(of: archive) + "\n").utf8))
        try manifest.finish()
      }
      try session.output.print(archive) { archive.sheet }
    }
  }

  static let erase = Command(
    name: "erase", summary: "Make a person's data in the trail unreadable, for good",
    discussion: """
      Destroys the key of the subject's data, in the database, in archives and in exports alike. \
      The entries stay, and the trail still verifies. It cannot be undone.
      """,
    arguments: [
      .init(name: "SUBJECT", help: "The person's name, as entries were recorded with it.")
    ],
    options: [
      .init(name: "reason", value: "TEXT", help: "Why, for the trail; without personal data."),
      .init(name: "yes", help: "Do it; without, nothing is erased."),
    ] + Session.options
  ) { invocation in
    guard invocation.has("yes") else {
      throw UsageError(
        "Erasing '\(invocation.argument("SUBJECT"))' cannot be undone: say --yes to do it.")
    }
    try await Session.run(invocation) { session in
      let answer = try await session.client.admin.audit.eraseSubject(
        .init(
          subject: invocation.argument("SUBJECT"), reason: invocation.option("reason") ?? ""))
      try session.output.print(answer) {
        "Erased: \(answer.entries) \(answer.entries == 1 ? "entry" : "entries") in the database."
      }
    }
  }
}
