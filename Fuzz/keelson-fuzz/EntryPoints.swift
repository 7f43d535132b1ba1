import Glibc
import KeelsonFuzzing

// What libFuzzer, which has `main`, calls. It starts copies of itself with other arguments, so the
// target is named by the environment: see dev/fuzz.

/// Called once, before any input.
@_cdecl("LLVMFuzzerInitialize")
public func initialize(
  _ count: UnsafeMutablePointer<Int32>,
  _ words: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>>
) -> Int32 {
  if CommandLine.arguments.dropFirst().first == "--list" {
    for target in FuzzTarget.all { print(target.name, target.maximumBytes) }
    exit(0)
  }
  guard SelectedTarget.start() else {
    print("Name a target in KEELSON_FUZZ_TARGET; --list lists them.")
    exit(2)
  }
  return 0
}

/// Called for each input, which libFuzzer owns.
@_cdecl("LLVMFuzzerTestOneInput")
public func run(_ start: UnsafePointer<UInt8>?, _ count: Int) -> Int32 {
  let input = unsafe Array(UnsafeBufferPointer(start: start, count: count))
  do {
    try unsafe SelectedTarget.target?.run(input)
  } catch {
    // The trap makes libFuzzer keep the input.
    fatalError("\(error)")
  }
  return 0
}
