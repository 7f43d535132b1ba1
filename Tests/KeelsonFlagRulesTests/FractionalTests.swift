import KeelsonCore
import Testing

@testable import KeelsonFlagRules

@Suite struct FractionalTests {
  @Test func hashesUTF8AsMurmur3Does() {
    for (text, hash) in BucketingVectors.utf8 {
      var murmur = Murmur3()
      murmur.absorb(text)
      #expect(murmur.digest == hash, "\(text)")
      // In pieces that straddle the blocks.
      var pieces = Murmur3()
      for (index, character) in text.enumerated() {
        if index.isMultiple(of: 3) {
          for byte in character.utf8 { pieces.absorb(byte) }
        } else {
          pieces.absorb(String(character))
        }
      }
      #expect(pieces.digest == hash, "\(text) in pieces")
    }
  }

  @Test func hashesDeterministicCBOR() throws {
    for (json, hash) in BucketingVectors.cbor {
      var murmur = Murmur3()
      let isEncoded = murmur.absorbCBOR(try JSONValue(parsing: json))
      #expect(isEncoded && murmur.digest == hash, "\(json)")
    }
  }

  @Test func picksAsOtherImplementationsDo() throws {
    let rule = #"{"fractional":[["a",1],["b",1],["c",1]]}"#
    let flag = FlagDefinition(
      key: "rollout", type: .string, variants: ["a": "a", "b": "b", "c": "c"], targeting: rule)
    let v2 = try CompiledFlag(flag, bucketing: .v2)
    let v3 = try CompiledFlag(flag, bucketing: .v3)
    for pick in BucketingVectors.picks {
      let context = EvaluationContext(targetingKey: pick.key)
      #expect(v2.evaluate(context).variant == pick.v2, "\(pick.key)")
      #expect(v3.evaluate(context).variant == pick.v3, "\(pick.key)")
    }
  }

  /// A v2 set with an explicit key hashes that text alone, so flag key and targeting key written
  /// out give the short form's pick.
  @Test func theShortFormOfV2IsFlagKeyAndTargetingKey() throws {
    for number in 0..<100 {
      let context = EvaluationContext(targetingKey: "user-\(number)")
      let short = try value(
        #"{"fractional":[["a",10],["b",20],["c",30]]}"#, context, bucketing: .v2)
      let long = try value(
        #"{"fractional":[{"cat":[{"var":"$flagd.flagKey"},{"var":"targetingKey"}]},["a",10],["b",20],["c",30]]}"#,
        context, bucketing: .v2)
      #expect(short == long)
    }
  }

  @Test(arguments: Bucketing.allCases) func distributesByWeight(_ bucketing: Bucketing) throws {
    let flag = FlagDefinition(
      key: "rollout", type: .string, variants: ["a": "a", "b": "b", "c": "c", "d": "d"],
      targeting: #"{"fractional":[["a",50],["b",30],["c",20],["d",0]]}"#)
    let compiled = try CompiledFlag(flag, bucketing: bucketing)
    var counts: [String: Int] = [:]
    let total = 20_000
    for number in 0..<total {
      let variant = compiled.evaluate(EvaluationContext(targetingKey: "user-\(number)")).variant
      counts[variant ?? "none", default: 0] += 1
    }
    // Six standard deviations of a binomial distribution.
    for (variant, share) in [("a", 0.5), ("b", 0.3), ("c", 0.2)] {
      let expected = share * Double(total)
      let tolerance = 6 * (expected * (1 - share)).squareRoot()
      #expect(abs(Double(counts[variant] ?? 0) - expected) < tolerance, "\(variant): \(counts)")
    }
    #expect(counts["d"] == nil && counts["none"] == nil)
  }

  /// Raising one variant's share from the front never takes it from those who have it.
  @Test(arguments: Bucketing.allCases) func aGrowingRolloutKeepsWhoIsIn(
    _ bucketing: Bucketing
  ) throws {
    func isOn(_ percent: Int, _ key: String) throws -> Bool {
      try value(
        #"{"fractional":[["on",\#(percent)],["off",\#(100 - percent)]]}"#,
        EvaluationContext(targetingKey: key), bucketing: bucketing) == "on"
    }
    for number in 0..<300 {
      var was = false
      for percent in [0, 1, 5, 10, 25, 50, 75, 99, 100] where percent > 0 {
        let now = try isOn(percent, "user-\(number)")
        #expect(now || !was)
        was = now
      }
      #expect(was)
    }
  }

  static let edges: [(rule: String, v2: JSONValue, v3: JSONValue)] = [
    // Nothing to bucket by.
    (#"{"fractional":[["a",1]]}"#, .null, .null),
    (#"{"fractional":[{"var":"absent"},["a",1]]}"#, .null, .null),
    (#"{"fractional":[]}"#, .null, .null),
    // Weights.
    (#"{"fractional":["k",["a",0],["b",0]]}"#, .null, .null),
    (#"{"fractional":["k",["a",-50],["b",1]]}"#, "b", "b"),
    (#"{"fractional":["k",["a",1.5],["b",1]]}"#, .null, .null),
    (#"{"fractional":["k",["a","1"]]}"#, .null, .null),
    (#"{"fractional":["k",["a",true]]}"#, .null, .null),
    (#"{"fractional":["k",["a",2147483647]]}"#, "a", "a"),
    (#"{"fractional":["k",["a",2147483648]]}"#, .null, .null),
    (#"{"fractional":["k",["a",2147483647],["b",1]]}"#, .null, .null),
    (#"{"fractional":["k",["a"]]}"#, "a", "a"),
    (#"{"fractional":["k",["a",null]]}"#, "a", "a"),
    (#"{"fractional":["k",["a",{"+":[1,2]}],["b",0]]}"#, "a", "a"),
    (#"{"fractional":["k",["a",{"-":[1,3]}],["b",1]]}"#, "b", "b"),
    // Shares.
    (#"{"fractional":["k","a"]}"#, .null, .null),
    (#"{"fractional":["k",[]]}"#, .null, .null),
    (#"{"fractional":["k",[["a"],1]]}"#, .null, .null),
    (#"{"fractional":["k",[null,1]]}"#, .null, .null),
    (#"{"fractional":["k",[7,1]]}"#, 7, 7),
    (#"{"fractional":["k",[{"cat":["a","b"]},1]]}"#, "ab", "ab"),
    (#"{"fractional":["k",{"merge":["a",1]}]}"#, "a", "a"),
    // What is no text buckets in v3 only.
    (#"{"fractional":[12345,["a",1]]}"#, .null, "a"),
    (#"{"fractional":[false,["a",1]]}"#, .null, "a"),
    (#"{"fractional":[{},["a",1]]}"#, .null, "a"),
    (#"{"fractional":[{"/":[0,0]},["a",1]]}"#, .null, .null),
  ]

  @Test(arguments: edges) func edge(_ rule: String, _ v2: JSONValue, _ v3: JSONValue) throws {
    #expect(try value(rule, bucketing: .v2) == v2)
    #expect(try value(rule, bucketing: .v3) == v3)
  }

  @Test func aComputedFirstShareMeansTheShortForm() throws {
    let context: EvaluationContext = ["targetingKey": "user-1"]
    for bucketing in Bucketing.allCases {
      let computed = try value(
        #"{"fractional":[{"merge":["a",50]},["b",50]]}"#, context, bucketing: bucketing)
      let written = try value(
        #"{"fractional":[["a",50],["b",50]]}"#, context, bucketing: bucketing)
      #expect(computed == written)
    }
  }

  @Test func anEmptyTargetingKeyIsNone() throws {
    #expect(try value(#"{"fractional":[["a",1]]}"#, ["targetingKey": ""]) == .null)
  }
}
