/// Renders a service: its method descriptors, the protocol of its handler with the routes made
/// of one, and its client.
struct ServiceRenderer {
  func render(_ service: ServiceModel, namespace: String, into out: inout SourceWriter) {
    out.block("extension \(namespace) {") { out in
      methods(service, into: &out)
      out.line()
      handler(service, into: &out)
      out.line()
      client(service, namespace: namespace, into: &out)
    }
    out.line()
    routes(service, namespace: namespace, into: &out)
  }

  private func methods(_ service: ServiceModel, into out: inout SourceWriter) {
    out.line("/// The methods of `\(service.fullName)`.")
    out.block("public enum \(service.swiftName)Methods {") { out in
      for method in service.methods {
        let idempotent = method.isIdempotent ? ", isIdempotent: true" : ""
        out.block(
          "public static let \(method.swiftName) = KeelsonCore.MethodDescriptor(", close: ")"
        ) {
          $0.line(
            "service: \"\(service.fullName)\", name: \"\(method.protoName)\", "
              + "kind: .\(method.kind)\(idempotent)")
        }
      }
      let all = service.methods.map(\.swiftName).joined(separator: ", ")
      out.line()
      out.line("/// All of them, in the order of the file.")
      out.line("public static var all: [KeelsonCore.MethodDescriptor] { [\(all)] }")
      for method in service.methods where method.kind == "unary" {
        out.line()
        out.line("/// The route of `\(method.swiftName)` with a handler that never waits.")
        out.line("package static func \(method.swiftName)(")
        out.line(
          "  immediate handler: @escaping @Sendable "
            + "(\(method.input), KeelsonCore.ServerContext) throws -> \(method.output)")
        out.block(") -> KeelsonCore.Route {") {
          $0.line(".immediate(\(method.swiftName), handler)")
        }
      }
    }
  }

  private func handler(_ service: ServiceModel, into out: inout SourceWriter) {
    out.doc(service.comment)
    out.block("package protocol \(service.swiftName)Handler: Swift.Sendable {") { out in
      for (index, method) in service.methods.enumerated() {
        if index > 0 { out.line() }
        out.doc(method.comment)
        out.line("func \(method.swiftName)(")
        let requests =
          method.isClientStreaming
          ? "requests: KeelsonAPI.RequestStream<\(method.input)>" : "_ request: \(method.input)"
        if method.isServerStreaming {
          out.line(
            "  \(requests), responses: KeelsonAPI.ResponseWriter<\(method.output)>, context: KeelsonCore.ServerContext"
          )
          out.line(") async throws")
        } else {
          out.line("  \(requests), context: KeelsonCore.ServerContext")
          out.line(") async throws -> \(method.output)")
        }
      }
    }
  }

  private func routes(
    _ service: ServiceModel, namespace: String, into out: inout SourceWriter
  ) {
    out.block("extension \(namespace).\(service.swiftName)Handler {") { out in
      out.line("/// A route for each method.")
      out.block("package var routes: [KeelsonCore.Route] {") { out in
        out.block("[", close: "]") { out in
          for method in service.methods {
            let descriptor = "\(namespace).\(service.swiftName)Methods.\(method.swiftName)"
            out.block(".\(method.kind)(\(descriptor)) {", close: "},") { out in
              let requests =
                method.isClientStreaming
                ? "requests: KeelsonAPI.RequestStream<\(method.input)>" : "request: \(method.input)"
              let responses =
                method.isServerStreaming
                ? ", responses: KeelsonAPI.ResponseWriter<\(method.output)>" : ""
              out.line("(\(requests)\(responses), context: KeelsonCore.ServerContext) in")
              let arguments =
                (method.isClientStreaming ? "requests: requests" : "request")
                + (method.isServerStreaming ? ", responses: responses" : "")
              out.line("try await \(method.swiftName)(\(arguments), context: context)")
            }
          }
        }
      }
    }
  }

  private func client(
    _ service: ServiceModel, namespace: String, into out: inout SourceWriter
  ) {
    out.doc(service.comment)
    out.block("public struct \(service.swiftName)Client: Swift.Sendable {") { out in
      out.line("private let channel: any KeelsonCore.Channel")
      out.line()
      out.line("/// A client whose calls go over a channel, which the caller keeps open.")
      out.block("public init(channel: any KeelsonCore.Channel) {") {
        $0.line("self.channel = channel")
      }
      for method in service.methods {
        out.line()
        out.doc(method.comment)
        call(method, descriptor: "\(service.swiftName)Methods.\(method.swiftName)", into: &out)
      }
    }
  }

  private func call(_ method: ServiceModel.Method, descriptor: String, into out: inout SourceWriter)
  {
    let options = "options: KeelsonCore.CallOptions = KeelsonCore.CallOptions()"
    switch (method.isClientStreaming, method.isServerStreaming) {
    case (false, false):
      out.line("public func \(method.swiftName)(")
      out.line("  _ request: \(method.input), \(options)")
      out.block(") async throws -> \(method.output) {") {
        $0.line("try await channel.unaryCall(\(descriptor), request, options: options)")
      }
    case (false, true):
      out.line("public func \(method.swiftName)(")
      out.line("  _ request: \(method.input), \(options)")
      out.block(") -> KeelsonAPI.ResponseStream<\(method.output)> {") {
        $0.line("channel.serverStreamingCall(\(descriptor), request, options: options)")
      }
    case (true, false):
      out.line("public func \(method.swiftName)(")
      out.line("  \(options),")
      out.line("  send: (KeelsonAPI.RequestWriter<\(method.input)>) async throws -> Swift.Void")
      out.block(") async throws -> \(method.output) {") {
        $0.line(
          "try await channel.clientStreamingCall(\(descriptor), options: options, send: send)")
      }
    case (true, true):
      out.line("public func \(method.swiftName)(")
      out.line("  \(options)")
      out.block(") -> KeelsonAPI.BidirectionalCall<\(method.input), \(method.output)> {") {
        $0.line("channel.bidirectionalCall(\(descriptor), options: options)")
      }
    }
  }
}

extension ServiceModel.Method {
  /// The name of its `CallKind`.
  var kind: String {
    switch (isClientStreaming, isServerStreaming) {
    case (false, false): "unary"
    case (true, false): "clientStreaming"
    case (false, true): "serverStreaming"
    case (true, true): "bidirectional"
    }
  }
}
