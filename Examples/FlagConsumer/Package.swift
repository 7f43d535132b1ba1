// swift-tools-version: 6.2
import PackageDescription

// A package outside of Keelson's own, as yours would be; there, instead of the path, stands
// .package(url: "…", from: "…").
let package = Package(
  name: "FlagConsumer",
  dependencies: [.package(name: "keelson", path: "../..")],
  targets: [
    .executableTarget(
      name: "FlagConsumer",
      dependencies: [.product(name: "KeelsonClient", package: "keelson")],
      swiftSettings: [
        .enableUpcomingFeature("MemberImportVisibility"), .treatAllWarnings(as: .error),
      ])
  ]
)
