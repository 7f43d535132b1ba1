import KeelsonCore

extension SettingValue {
  /// The value as one of a type, where it says the same; nil when it is none.
  ///
  /// - Parameter readsText: whether a string may say a boolean, a number or a list, as it has to
  ///   where a layer has only text (environment variables, secrets). A duration and a size may
  ///   always stand as text.
  package func converted(to type: SettingType, readsText: Bool) -> SettingValue? {
    switch (type, self) {
    case (.boolean, .boolean), (.integer, .integer), (.number, .number), (.string, .string),
      (.duration, .duration), (.list, .list), (.object, .object):
      return self
    case (.number, .integer(let value)): return .number(Double(value))
    case (.integer, .number(let value)), (.size, .number(let value)):
      guard let whole = Int64(exactly: value), whole.magnitude < 1 << 53 else { return nil }
      return type == .size && whole < 0 ? nil : .integer(whole)
    case (.size, .integer(let value)): return value < 0 ? nil : self
    case (.size, .string(let text)):
      return SizeText.bytes(text.trimmingBlanks()).map { .integer($0) }
    case (.duration, .string(let text)):
      return DurationText.duration(text.trimmingBlanks()).map { .duration($0) }
    case (_, .string(let text)) where readsText: return SettingValue(text: text, as: type)
    default: return nil
    }
  }

  /// Reads the text of a value; nil when it says none of the type.
  ///
  /// A list stands as JSON (`["a","b"]`) or as its elements with commas between (`a, b`).
  public init?(text: String, as type: SettingType) {
    switch type {
    case .string: self = .string(text)
    case .boolean:
      switch text.trimmingBlanks().lowercased() {
      case "true", "yes", "on", "1": self = .boolean(true)
      case "false", "no", "off", "0": self = .boolean(false)
      default: return nil
      }
    case .integer:
      guard let value = Int64(text.trimmingBlanks()) else { return nil }
      self = .integer(value)
    case .number:
      guard let value = Double(text.trimmingBlanks()), value.isFinite else { return nil }
      self = .number(value)
    case .duration:
      guard let value = DurationText.duration(text.trimmingBlanks()) else { return nil }
      self = .duration(value)
    case .size:
      guard let value = SizeText.bytes(text.trimmingBlanks()) else { return nil }
      self = .integer(value)
    case .list:
      let text = text.trimmingBlanks()
      if text.hasPrefix("[") {
        guard case .array(let values)? = try? JSONValue(parsing: text) else { return nil }
        self = .list(values)
      } else {
        self = .list(
          text.isEmpty
            ? [] : text.split(separator: ",").map { .string(String($0).trimmingBlanks()) })
      }
    case .object:
      guard case .object(let members)? = try? JSONValue(parsing: text) else { return nil }
      self = .object(members)
    }
  }

  /// The value of any kind that a text most likely means: what a person writes on a command line.
  public init(guessing text: String) {
    if text == "true" || text == "false" {
      self = .boolean(text == "true")
    } else if let integer = Int64(text), String(integer) == text {
      self = .integer(integer)
    } else if text.first.map({ "-0123456789[{".contains($0) }) == true,
      let json = try? JSONValue(parsing: text), let value = SettingValue(json)
    {
      self = value
    } else {
      self = .string(text)
    }
  }
}

extension String {
  func trimmingBlanks() -> String {
    let isBlank = { (character: Character) in character == " " || character == "\t" }
    var trimmed = drop(while: isBlank)
    while let last = trimmed.last, isBlank(last) { trimmed.removeLast() }
    return String(trimmed)
  }
}
