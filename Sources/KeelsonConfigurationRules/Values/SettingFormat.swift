/// What a string has to be beside a string.
public enum SettingFormat: String, Sendable, Hashable, CaseIterable {
  /// An absolute URI with a scheme. Source: RFC 3986.
  case uri
  /// A host name (RFC 1123) or an IP address.
  case host
  /// A host name or an IP address with a port: `db:5432`, `[::1]:80`.
  case hostAndPort = "host-and-port"
  /// An address of the form `local@domain`. Source: RFC 5321, without quoted local parts.
  case email
  /// `2026-11-25`.
  case date
  /// RFC 3339, `2026-11-25T10:00:00Z`.
  case dateTime = "date-time"
  case uuid
  /// An IPv4 or IPv6 address.
  case ipAddress = "ip-address"
  /// Any JSON text.
  case json
  /// Base64 with padding. Source: RFC 4648, section 4.
  case base64

  /// What it is, with an example.
  package var phrase: String {
    switch self {
    case .uri: "a URI with a scheme, https://example.com/path for example"
    case .host: "a host name or an IP address"
    case .hostAndPort: "a host and a port, db.example.com:5432 for example"
    case .email: "an e-mail address"
    case .date: "a date such as 2026-11-25"
    case .dateTime: "a time such as 2026-11-25T10:00:00Z (RFC 3339)"
    case .uuid: "a UUID"
    case .ipAddress: "an IPv4 or IPv6 address"
    case .json: "a JSON text"
    case .base64: "Base64 text with padding"
    }
  }
}
