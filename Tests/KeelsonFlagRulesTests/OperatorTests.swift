import KeelsonCore
import Testing

@testable import KeelsonFlagRules

struct OperatorCase: Sendable, CustomTestStringConvertible {
  let rule: String
  let result: JSONValue

  init(_ rule: String, _ result: JSONValue) {
    self.rule = rule
    self.result = result
  }

  var testDescription: String { rule }
}

@Suite struct OperatorTests {
  static let context: EvaluationContext = [
    "targetingKey": "user-1", "name": "Ada", "age": 36, "empty": "", "nothing": .null,
    "list": [1, 2, 3], "user": ["email": "ada@example.com", "roles": ["admin", "dev"]],
    "version": "2.1.0", "flag": true, "0": "zero",
  ]

  static let variableCases: [OperatorCase] = [
    .init(#"{"var":"name"}"#, "Ada"),
    .init(#"{"var":["name"]}"#, "Ada"),
    .init(#"{"var":"user.email"}"#, "ada@example.com"),
    .init(#"{"var":"user.roles.1"}"#, "dev"),
    .init(#"{"var":"user.roles.2"}"#, .null),
    .init(#"{"var":"user.roles.01"}"#, .null),
    .init(#"{"var":"user.roles.-1"}"#, .null),
    .init(#"{"var":"name.first"}"#, .null),
    .init(#"{"var":["absent","d"]}"#, "d"),
    .init(#"{"var":["nothing","d"]}"#, "d"),
    .init(#"{"var":["empty","d"]}"#, ""),
    .init(#"{"var":["absent",{"var":"name"}]}"#, "Ada"),
    .init(#"{"var":{"cat":["na","me"]}}"#, "Ada"),
    .init(#"{"var":0}"#, "zero"),
    .init(#"{"var":"targetingKey"}"#, "user-1"),
    .init(#"{"var":"$flagd.flagKey"}"#, "flag"),
    .init(#"{"var":"$flagd.timestamp"}"#, 1_700_000_000),
    .init(#"{"var":"$flagd"}"#, ["flagKey": "flag", "timestamp": 1_700_000_000]),
    .init(#"{"map":[{"var":"list"},{"var":""}]}"#, [1, 2, 3]),
    .init(
      #"{"missing":["name","absent","nothing","empty","user.email"]}"#,
      ["absent", "nothing", "empty"]),
    .init(#"{"missing":{"merge":["name",["absent"]]}}"#, ["absent"]),
    .init(#"{"missing":"name"}"#, []),
    .init(#"{"missing_some":[1,["name","absent"]]}"#, []),
    .init(#"{"missing_some":[2,["name","absent"]]}"#, ["absent"]),
  ]

  static let logicCases: [OperatorCase] = [
    .init(#"{"if":[true,"a","b"]}"#, "a"),
    .init(#"{"if":[false,"a","b"]}"#, "b"),
    .init(#"{"if":[false,"a"]}"#, .null),
    .init(#"{"if":[false,"a",false,"b","c"]}"#, "c"),
    .init(#"{"if":[false,"a",1,"b","c"]}"#, "b"),
    .init(#"{"if":["alone"]}"#, "alone"),
    .init(#"{"if":[]}"#, .null),
    .init(#"{"?:":[0,1,2]}"#, 2),
    .init(#"{"!!":["0"]}"#, true),
    .init(#"{"!!":[""]}"#, false),
    .init(#"{"!!":[[]]}"#, false),
    .init(#"{"!!":[[0]]}"#, true),
    .init(#"{"!!":[{}]}"#, true),
    .init(#"{"!!":[0]}"#, false),
    .init(#"{"!":[null]}"#, true),
    .init(#"{"!":true}"#, false),
    .init(#"{"and":[1,"a",3]}"#, 3),
    .init(#"{"and":[1,"",3]}"#, ""),
    .init(#"{"and":[1,0,{"var":"absent"},2]}"#, 0),
    .init(#"{"and":[]}"#, .null),
    .init(#"{"or":[0,"","x","y"]}"#, "x"),
    .init(#"{"or":[0,false]}"#, false),
    .init(#"{"log":"said"}"#, "said"),
  ]

  static let comparisonCases: [OperatorCase] = [
    .init(#"{"==":[1,"1"]}"#, true),
    .init(#"{"==":[0,""]}"#, true),
    .init(#"{"==":[0,false]}"#, true),
    .init(#"{"==":[1,true]}"#, true),
    .init(#"{"==":["1",true]}"#, true),
    .init(#"{"==":["a",0]}"#, false),
    .init(#"{"==":[null,0]}"#, false),
    .init(#"{"==":[null,false]}"#, false),
    .init(#"{"==":[null,{"var":"absent"}]}"#, true),
    .init(#"{"==":[[1,2],"1,2"]}"#, true),
    .init(#"{"==":[[1,2],[1,2]]}"#, true),
    .init(#"{"==":["16","0x10"]}"#, false),
    .init(#"{"==":[16,"0x10"]}"#, true),
    .init(#"{"==":[16," 16 "]}"#, true),
    .init(#"{"==":[{"/":[0,0]},{"/":[0,0]}]}"#, false),
    .init(#"{"===":[1,"1"]}"#, false),
    .init(#"{"===":["a","a"]}"#, true),
    .init(#"{"!=":[1,"1"]}"#, false),
    .init(#"{"!==":[1,"1"]}"#, true),
    .init("{\"==\":[\"\u{e9}\",\"e\u{301}\"]}", false),
    .init(#"{"<":[1,2]}"#, true),
    .init(#"{"<":["10","9"]}"#, true),
    .init(#"{"<":["10",9]}"#, false),
    .init(#"{"<":[1,2,3]}"#, true),
    .init(#"{"<":[1,3,2]}"#, false),
    .init(#"{"<":[1,1,3]}"#, false),
    .init(#"{"<=":[1,1,3]}"#, true),
    .init(#"{">":[3,2,1]}"#, true),
    .init(#"{">=":[3,3,3]}"#, true),
    .init(#"{">":[3,2,2]}"#, false),
    .init(#"{"<":["a",1]}"#, false),
    .init(#"{">=":["a",1]}"#, false),
    .init(#"{"<":[null,1]}"#, true),
    .init(#"{"<":["B","a"]}"#, true),
  ]

  static let arithmeticCases: [OperatorCase] = [
    .init(#"{"+":[1,2,3]}"#, 6),
    .init(#"{"+":"3.5 apples"}"#, 3.5),
    .init(#"{"+":["-1e2x"]}"#, -100),
    .init(#"{"*":[2,"3",4]}"#, 24),
    .init(#"{"-":[5,2]}"#, 3),
    .init(#"{"-":"4"}"#, -4),
    .init(#"{"/":[9,2]}"#, 4.5),
    .init(#"{"%":[-7,3]}"#, -1),
    .init(#"{"%":[5.5,2]}"#, 1.5),
    .init(#"{"max":[1,"7",3]}"#, 7),
    .init(#"{"min":[1,-7,3]}"#, -7),
    .init(#"{"!!":{"+":[null]}}"#, false),
    .init(#"{"cat":[{"max":[1,"x"]}]}"#, "NaN"),
    .init(#"{"cat":[{"/":[-1,0]}]}"#, "-Infinity"),
  ]

  static let listCases: [OperatorCase] = [
    .init(#"{"map":[{"var":"list"},{"*":[{"var":""},2]}]}"#, [2, 4, 6]),
    .init(#"{"map":["no list",1]}"#, []),
    .init(#"{"filter":[{"var":"list"},{">":[{"var":""},1]}]}"#, [2, 3]),
    .init(#"{"filter":[{"var":"absent"},true]}"#, []),
    .init(
      #"{"reduce":[{"var":"list"},{"+":[{"var":"current"},{"var":"accumulator"}]},10]}"#, 16),
    .init(#"{"reduce":[{"var":"absent"},1,"initial"]}"#, "initial"),
    .init(#"{"all":[{"var":"list"},{">":[{"var":""},0]}]}"#, true),
    .init(#"{"all":[[],true]}"#, false),
    .init(#"{"none":[[],true]}"#, true),
    .init(#"{"none":[{"var":"list"},{">":[{"var":""},2]}]}"#, false),
    .init(#"{"some":[{"var":"user.roles"},{"==":[{"var":""},"dev"]}]}"#, true),
    .init(#"{"some":[{"var":"absent"},true]}"#, false),
    .init(#"{"some":[{"var":"list"},{"==":[{"var":"targetingKey"},"user-1"]}]}"#, false),
    .init(
      #"{"map":[[[1,2],[3]],{"reduce":[{"var":""},{"+":[{"var":"current"},{"var":"accumulator"}]},0]}]}"#,
      [3, 3]),
    .init(#"{"merge":[1,[2,3],[[4]]]}"#, [1, 2, 3, [4]]),
    .init(#"{"in":["dev",{"var":"user.roles"}]}"#, true),
    .init(#"{"in":["ad",{"var":"user.email"}]}"#, true),
    .init(#"{"in":[36,["36"]]}"#, false),
    .init(#"{"in":[{"var":"age"},[1,36]]}"#, true),
    .init(#"{"in":["a",{"var":"absent"}]}"#, false),
    .init(#"{"in":[null,"nullify"]}"#, false),
    .init(#"{"in":[3,"12345"]}"#, true),
    .init(#"{"in":["","abc"]}"#, true),
    .init(#"{"in":["z",["a","b","c","d","e","f","g","h","i","j","z"]]}"#, true),
    .init(#"{"in":["y",["a","b","c","d","e","f","g","h","i","j","z"]]}"#, false),
    .init(#"{"in":[[1],[[1],[2]]]}"#, true),
  ]

  static let textCases: [OperatorCase] = [
    .init(#"{"cat":["a",1,true,null,[2,null,3],1.5,1e21]}"#, "a1true2,,31.51e+21"),
    .init(#"{"cat":"alone"}"#, "alone"),
    .init(#"{"substr":["jsonlogic",4]}"#, "logic"),
    .init(#"{"substr":["jsonlogic",-5]}"#, "logic"),
    .init(#"{"substr":["jsonlogic",1,3]}"#, "son"),
    .init(#"{"substr":["jsonlogic",4,-2]}"#, "log"),
    .init(#"{"substr":["jsonlogic",-99,4]}"#, "json"),
    .init(#"{"substr":["jsonlogic",99]}"#, ""),
    .init(#"{"substr":["jsonlogic",5,-9]}"#, ""),
    .init(#"{"substr":["日本語",1,1]}"#, "本"),
    .init(#"{"starts_with":["abcdef","abc"]}"#, true),
    .init(#"{"starts_with":["abc","abcd"]}"#, false),
    .init(#"{"starts_with":["abc",""]}"#, true),
    .init(#"{"starts_with":[{"var":"age"},"3"]}"#, .null),
    .init(#"{"starts_with":["abc"]}"#, .null),
    .init(#"{"ends_with":["abcdef","def"]}"#, true),
    .init(#"{"ends_with":["abcdef","abc"]}"#, false),
    .init(#"{"ends_with":["abcdef",null]}"#, .null),
    .init(#"{"ends_with":["a","b","c"]}"#, .null),
  ]

  static let versionCases: [OperatorCase] = [
    .init(#"{"sem_ver":["1.2.3","=","1.2.3"]}"#, true),
    .init(#"{"sem_ver":["v1.2.3","=","V1.2.3+build.7"]}"#, true),
    .init(#"{"sem_ver":["1.2","=","1.2.0"]}"#, true),
    .init(#"{"sem_ver":[1.2,"=","1.2.0"]}"#, true),
    .init(#"{"sem_ver":[2,">","1.9"]}"#, true),
    .init(#"{"sem_ver":["1.0.0-alpha","<","1.0.0"]}"#, true),
    .init(#"{"sem_ver":["1.0.0-alpha.2","<","1.0.0-alpha.10"]}"#, true),
    .init(#"{"sem_ver":["1.0.0-2","<","1.0.0-a"]}"#, true),
    .init(#"{"sem_ver":["1.0.0-a",">","1.0.0-a.1"]}"#, false),
    .init(#"{"sem_ver":["10.0.0",">","9.9.9"]}"#, true),
    .init(#"{"sem_ver":["1.2.3","!=","1.2.4"]}"#, true),
    .init(#"{"sem_ver":["1.2.3",">=","1.2.3"]}"#, true),
    .init(#"{"sem_ver":["1.2.3","<=","1.2.2"]}"#, false),
    .init(#"{"sem_ver":["3.9.1","^","3.0.0"]}"#, true),
    .init(#"{"sem_ver":["4.0.0","^","3.0.0"]}"#, false),
    .init(#"{"sem_ver":["3.0.9","~","3.0.0"]}"#, true),
    .init(#"{"sem_ver":["3.1.0","~","3.0.0"]}"#, false),
    .init(#"{"sem_ver":["2.0.0.0","=","2.0.0"]}"#, .null),
    .init(#"{"sem_ver":["01.0.0","=","1.0.0"]}"#, .null),
    .init(#"{"sem_ver":["1.0.0-","=","1.0.0"]}"#, .null),
    .init(#"{"sem_ver":["1.0.0-01","=","1.0.0"]}"#, .null),
    .init(#"{"sem_ver":["1.0.0+","=","1.0.0"]}"#, .null),
    .init(#"{"sem_ver":["1.x","=","1.0.0"]}"#, .null),
    .init(#"{"sem_ver":["","=","1.0.0"]}"#, .null),
    .init(#"{"sem_ver":[{"var":"absent"},"=","1.0.0"]}"#, .null),
    .init(#"{"sem_ver":["1.0.0","==","1.0.0"]}"#, .null),
    .init(#"{"sem_ver":["1.0.0","="]}"#, .null),
    .init(#"{"sem_ver":["99999999999999999999.0.0",">","1.0.0"]}"#, .null),
  ]

  @Test(arguments: variableCases) func variables(_ one: OperatorCase) throws { try check(one) }
  @Test(arguments: logicCases) func logic(_ one: OperatorCase) throws { try check(one) }
  @Test(arguments: comparisonCases) func comparisons(_ one: OperatorCase) throws { try check(one) }
  @Test(arguments: arithmeticCases) func arithmetic(_ one: OperatorCase) throws { try check(one) }
  @Test(arguments: listCases) func lists(_ one: OperatorCase) throws { try check(one) }
  @Test(arguments: textCases) func texts(_ one: OperatorCase) throws { try check(one) }
  @Test(arguments: versionCases) func versions(_ one: OperatorCase) throws { try check(one) }

  private func check(_ one: OperatorCase) throws {
    let result = try value(one.rule, OperatorTests.context)
    #expect(result == one.result, "gave \(result.text)")
  }

  @Test(arguments: [
    (1.0, "1"), (-0.0, "0"), (0.1, "0.1"), (1e21, "1e+21"), (1e20, "100000000000000000000"),
    (1e-6, "0.000001"), (1e-7, "1e-7"),
    (1.5e-9, "1.5e-9"), (-2.5e300, "-2.5e+300"), (Double.leastNonzeroMagnitude, "5e-324"),
    (1e16, "10000000000000000"),
    (0.000123, "0.000123"), (9_007_199_254_740_992, "9007199254740992"),
  ])
  func numbersReadAsInECMAScript(_ number: Double, _ text: String) {
    #expect(NumberText.text(number) == text)
  }

  @Test func aTargetingKeyThatIsMissingIsNull() throws {
    #expect(try value(#"{"var":"targetingKey"}"#) == .null)
    #expect(try value(#"{"var":["targetingKey","d"]}"#) == "d")
  }

  @Test func theCallerCannotForgeFlagdProperties() throws {
    let context: EvaluationContext = ["$flagd": ["flagKey": "other", "timestamp": 1]]
    #expect(try value(#"{"var":"$flagd.flagKey"}"#, context) == "flag")
    #expect(try value(#"{"var":"$flagd.timestamp"}"#, context) == 1_700_000_000)
    #expect(try value(#"{"var":{"cat":["$flagd",".flagKey"]}}"#, context) == "flag")
  }
}
