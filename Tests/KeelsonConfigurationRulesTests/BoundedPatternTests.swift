import KeelsonTestKit
import Testing

@testable import KeelsonConfigurationRules

@Suite struct BoundedPatternTests {
  @Test(arguments: [
    ("", "", true), ("", "a", false), ("abc", "abc", true), ("abc", "xabc", false),
    ("[a-z]+", "keel", true), ("[a-z]+", "Keel", false), ("[^0-9]", "x", true),
    ("a|bc", "bc", true), ("(a|b)*c", "ababc", true), ("a{2,3}", "aa", true),
    ("a{2,3}", "aaaa", false), ("a{2,}", "aaaaa", true), ("a{0}", "", true),
    (#"\d{3}-\w+"#, "123-x_9", true), (#"[\w.]+"#, "a.b", true), (#"\."#, ".", true),
    (#"\."#, "x", false), ("^a$", "a", true), ("a^b", "ab", false), (".", "\n", false),
    (#"\S+"#, "a b", false), ("(?:ab)+", "abab", true), ("é+", "éé", true), ("[]a]", "]", true),
    (#"[\D]"#, "5", false), ("a?b", "b", true), ("(a*)*", "aaa", true), ("[a-]", "-", true),
  ])
  func wholeTextsMatch(pattern: String, text: String, isMatch: Bool) throws {
    #expect(try BoundedPattern(pattern).matches(text) == isMatch)
  }

  @Test(arguments: [
    "(", ")", "a)", "[a", "*a", "a**", "a{2", "a{3,2}", "a{9999}", #"\q"#, #"\"#, "(?=a)", "[z-a]",
    "{2}", #"[\d-z]"#,
  ])
  func brokenPatternsSayWhere(pattern: String) {
    #expect {
      try BoundedPattern(pattern)
    } throws: { error in
      "\(error)".contains("character")
    }
  }

  @Test(arguments: [
    "(?:(?:(?:){1000}){1000}){1000}", "(?:(?:a{1000}){1000}){1000}", "(?:a?){1000}b{1000}c{1000}",
    String(repeating: "a", count: 2_000), String(repeating: "(", count: 100),
  ])
  func whatWouldCostTooMuchIsRefused(pattern: String) {
    #expect(throws: PatternError.self) { try BoundedPattern(pattern) }
  }

  @Test func whatMakesBacktrackersExplodeCostsLittle() throws {
    let pattern = try BoundedPattern("(a+)+b|(a|aa)+c|(a|a?)+d")
    let text = String(repeating: "a", count: BoundedPattern.maximumTextBytes)
    let clock = ContinuousClock()
    let time = clock.measure { #expect(!pattern.matches(text)) }
    #expect(time < .seconds(20))
  }

  @Test func longClassesCostNoMoreThanShortOnes() throws {
    let letters = String(repeating: "acegikmoqsuwy", count: 70)
    let pattern = try BoundedPattern("(?:[\(letters)]?){900}")
    let text = String(repeating: "b", count: BoundedPattern.maximumTextBytes)
    let fitting = String(repeating: "a", count: 900)
    let time = ContinuousClock().measure {
      #expect(!pattern.matches(text))
      #expect(pattern.matches(fitting))
    }
    #expect(time < .seconds(20))
    #expect(try BoundedPattern("[é-ü]+").matches("öü"))
    #expect(try !BoundedPattern("[^é-ü]").matches("ö"))
  }

  /// Random patterns against a matcher that tries everything.
  @Test func agreesWithTryingEverything() throws {
    var random = SeededGenerator(seed: 7)
    for _ in 0..<3_000 {
      let tree = Self.tree(depth: 3, using: &random)
      let pattern = try BoundedPattern(Self.text(tree))
      for _ in 0..<8 {
        let text = String(
          (0..<Int.random(in: 0...5, using: &random)).map { _ in
            "abc".randomElement(using: &random) ?? "a"
          })
        let expected = Self.ends(of: tree, in: Array(text), from: 0).contains(text.count)
        #expect(pattern.matches(text) == expected, "\(pattern.text) against \(text)")
      }
    }
  }

  private indirect enum Tree {
    case character(Character)
    case sequence([Tree])
    case either([Tree])
    case repeated(Tree, Int, Int?)
  }

  private static func tree(depth: Int, using random: inout SeededGenerator) -> Tree {
    switch depth == 0 ? 0 : Int.random(in: 0...3, using: &random) {
    case 1:
      return .sequence(
        (0..<Int.random(in: 0...3, using: &random)).map { _ in
          tree(depth: depth - 1, using: &random)
        })
    case 2:
      return .either(
        (0..<Int.random(in: 1...3, using: &random)).map { _ in
          tree(depth: depth - 1, using: &random)
        })
    case 3:
      let minimum = Int.random(in: 0...2, using: &random)
      return .repeated(
        tree(depth: depth - 1, using: &random), minimum,
        Bool.random(using: &random) ? nil : minimum + Int.random(in: 0...2, using: &random))
    default: return .character("abc".randomElement(using: &random) ?? "a")
    }
  }

  private static func text(_ tree: Tree) -> String {
    switch tree {
    case .character(let character): String(character)
    case .sequence(let parts): parts.map(text).joined()
    case .either(let choices): "(?:\(choices.map(text).joined(separator: "|")))"
    case .repeated(let part, let minimum, let maximum):
      "(?:\(text(part))){\(minimum),\(maximum.map(String.init) ?? "")}"
    }
  }

  private static func ends(of tree: Tree, in text: [Character], from start: Int) -> Set<Int> {
    switch tree {
    case .character(let character):
      return start < text.count && text[start] == character ? [start + 1] : []
    case .sequence(let parts):
      return parts.reduce([start]) { starts, part in
        Set(starts.flatMap { ends(of: part, in: text, from: $0) })
      }
    case .either(let choices):
      return Set(choices.flatMap { ends(of: $0, in: text, from: start) })
    case .repeated(let part, let minimum, let maximum):
      var starts: Set<Int> = [start]
      var found: Set<Int> = minimum == 0 ? starts : []
      // More rounds than there are characters add nothing, for the least number apart.
      for round in 1...max(1, maximum ?? minimum + text.count + 1) where round <= maximum ?? round {
        starts = Set(starts.flatMap { ends(of: part, in: text, from: $0) })
        if round >= minimum { found.formUnion(starts) }
      }
      return found
    }
  }
}
