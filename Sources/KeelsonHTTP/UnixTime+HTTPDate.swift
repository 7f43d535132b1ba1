import KeelsonCore

extension UnixTime {
  /// Reads `Sun, 06 Nov 1994 08:49:37 GMT`; nil for anything else. The two obsolete forms, which no
  /// server of today sends, are not read. Source: RFC 9110 section 5.6.7.
  init?(httpDate text: String) {
    let months = [
      "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ]
    let words = text.split(separator: " ", omittingEmptySubsequences: false)
    guard words.count == 6, words[0].hasSuffix(","), words[5] == "GMT",
      let month = months.firstIndex(of: String(words[2]))
    else { return nil }
    let number = month < 9 ? "0\(month + 1)" : "\(month + 1)"
    self.init(exactly: "\(words[3])-\(number)-\(words[1])T\(words[4]).000000Z")
  }
}
