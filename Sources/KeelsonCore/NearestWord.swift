/// Finds what somebody meant who wrote a word that is not known.
package enum NearestWord {
  /// ` (did you mean 'X'?)` when a known word is close to what was written; otherwise nothing.
  package static func suggestion(for word: String, among known: [String]) -> String {
    let closest = known.map { ($0, distance(Array(word.utf8), Array($0.utf8))) }
      .min { $0.1 < $1.1 }
    guard let closest, closest.1 <= max(1, word.utf8.count / 3) else { return "" }
    return " (did you mean '\(closest.0)'?)"
  }

  /// How many bytes must be added, taken away or changed to come from one word to another.
  private static func distance(_ a: [UInt8], _ b: [UInt8]) -> Int {
    var row = Array(0...b.count)
    for (i, left) in a.enumerated() {
      var diagonal = row[0]
      row[0] = i + 1
      for (j, right) in b.enumerated() {
        let above = row[j + 1]
        row[j + 1] = min(above + 1, row[j] + 1, diagonal + (left == right ? 0 : 1))
        diagonal = above
      }
    }
    return row[b.count]
  }
}
