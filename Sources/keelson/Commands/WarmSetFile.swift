import KeelsonAPI
import KeelsonConfigurationRules
import KeelsonCore

/// A file that defines a warm set, as JSON.
struct WarmSetFile: Sendable {
  private enum Member: String, CaseIterable {
    case description, concurrency, entries
    case onStart = "on_start"
  }

  private enum EntryMember: String, CaseIterable {
    case key, value, text, url, tags, ttl, jitter
    case staleFor = "stale_for"
  }

  let path: String

  /// - Throws: `RPCError` that names the place and what is wrong there.
  func warmSet(name: String) throws -> KeelsonCacheV1.WarmSet {
    let (set, members) = try change(name: name)
    guard members.contains(Member.entries.rawValue) else { throw problem("has no entries") }
    return set
  }

  /// What the file has of a set, and the names of that: a file for a change need not have all.
  ///
  /// - Throws: `RPCError` that names the place and what is wrong there.
  func change(name: String) throws -> (set: KeelsonCacheV1.WarmSet, members: Set<String>) {
    let value: JSONValue
    do {
      value = try JSONValue(
        parsing: try InputFile.text(path), refusesRepeatedNames: true,
        refusesInexactIntegers: true)
    } catch let error as RPCError {
      throw error
    } catch {
      throw RPCError(.invalidArgument, "\(path) is no JSON: \(error)")
    }
    var set = KeelsonCacheV1.WarmSet()
    set.name = name
    let all = try members(of: value, "it")
    for (name, value) in all {
      switch (try known(name, Member.self, in: "it"), value) {
      case (.description, .string(let text)): set.description = text
      case (.onStart, .bool(let flag)): set.onStart = flag
      case (.concurrency, .number(let number)) where Int32(exactly: number) != nil:
        set.concurrency = Int32(number)
      case (.entries, .array(let entries)):
        guard !entries.isEmpty else { throw problem("has no entries") }
        for (index, entry) in entries.enumerated() {
          set.entries.append(try self.entry(entry, "entries[\(index)]"))
        }
      case (let member, _):
        throw problem("has \(member.rawValue) that is not \(Self.right(member))")
      }
    }
    return (set, Set(all.map(\.0)))
  }

  private func entry(_ value: JSONValue, _ place: String) throws -> KeelsonCacheV1.WarmEntry {
    var entry = KeelsonCacheV1.WarmEntry()
    var lifetime = KeelsonCacheV1.Lifetime()
    var sources = 0
    for (name, value) in try members(of: value, place) {
      let member = try known(name, EntryMember.self, in: place)
      switch (member, value) {
      case (.key, .string(let text)): entry.key = text
      case (.value, _):
        entry.source = .value(Array(value.text.utf8))
        sources += 1
      case (.text, .string(let text)):
        entry.source = .value(Array(text.utf8))
        sources += 1
      case (.url, .string(let text)):
        entry.source = .url(text)
        sources += 1
      case (.tags, .array(let values)):
        entry.tags = try values.map { value in
          guard case .string(let tag) = value else {
            throw problem("has tags in \(place) that are not texts")
          }
          return tag
        }
      case (.jitter, .number(let number)): lifetime.jitter = number
      case (.ttl, .string(let text)), (.staleFor, .string(let text)):
        guard let duration = DurationText.duration(text) else {
          throw problem("has a \(member.rawValue) in \(place) that is no time such as \"1h\"")
        }
        if member == .ttl { lifetime.ttl = .init(duration) }
        if member == .staleFor { lifetime.staleFor = .init(duration) }
      default:
        throw problem("has a \(member.rawValue) in \(place) that is not of the right kind")
      }
    }
    guard sources == 1 else {
      throw problem("needs one of \"value\", \"text\" and \"url\" in \(place)")
    }
    entry.lifetime = lifetime
    return entry
  }

  private func members(of value: JSONValue, _ place: String) throws -> [(String, JSONValue)] {
    guard case .object(let members) = value else {
      throw problem("has no object in \(place)")
    }
    return members.sorted { $0.key < $1.key }
  }

  private func known<Name: RawRepresentable<String> & CaseIterable>(
    _ name: String, _ type: Name.Type, in place: String
  ) throws -> Name {
    guard let member = Name(rawValue: name) else {
      throw problem(
        "has '\(name)' in \(place), which is not known"
          + NearestWord.suggestion(for: name, among: Name.allCases.map(\.rawValue)))
    }
    return member
  }

  private func problem(_ text: String) -> RPCError {
    RPCError(.invalidArgument, "\(path) \(text).")
  }

  private static func right(_ member: Member) -> String {
    switch member {
    case .description: "a text"
    case .onStart: "true or false"
    case .concurrency: "a whole number"
    case .entries: "a list"
    }
  }
}
