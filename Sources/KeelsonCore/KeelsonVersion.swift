/// The version of Keelson, of the server and of the client library alike.
public enum KeelsonVersion {
  /// Semantic version, `major.minor.patch`.
  public static let current = "0.1.0"
}
