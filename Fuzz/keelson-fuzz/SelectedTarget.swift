import Dispatch
import Glibc
import KeelsonFuzzing

/// The target that this process fuzzes.
enum SelectedTarget {
  /// Set before libFuzzer starts, and not changed after that.
  nonisolated(unsafe) static var target: FuzzTarget?

  /// False when the environment names none.
  static func start() -> Bool {
    guard let name = unsafe getenv("KEELSON_FUZZ_TARGET"),
      let target = unsafe FuzzTarget.named(String(cString: name))
    else { return false }
    let isReady = DispatchSemaphore(value: 0)
    Task.detached {
      do {
        try await target.start()
      } catch {
        print("\(target.name) cannot start: \(error)")
        exit(2)
      }
      isReady.signal()
    }
    isReady.wait()
    unsafe Self.target = target
    return true
  }
}
