import KeelsonCore
import KeelsonTransport

/// `keelson certs`: certificates for development, and a look into any.
enum CertsCommand {
  static let command = Command(
    name: "certs", summary: "Make certificates for development, show certificates",
    subcommands: [dev, show])

  private static let dev = Command(
    name: "dev", summary: "Make a development CA, a server certificate and client certificates",
    discussion: """
      Makes a certificate authority in the folder, or uses the one that is there, and issues a \
      certificate for a server on this machine and one for each client. For development only: the \
      authority's key lies in a file.
      """,
    options: [
      .init(
        name: "folder", value: "DIR", help: "Where the files go; made when it is not there.",
        defaultValue: "./keelson-certs"),
      .init(
        name: "host", value: "NAME",
        help: "A name or address of the server, beside localhost, 127.0.0.1 and ::1.",
        isRepeatable: true),
      .init(
        name: "client", value: "NAME",
        help:
          "A client: a name, or a URI such as spiffe://example.org/checkout. Without: 'client'.",
        isRepeatable: true),
      .init(
        name: "days", value: "N", help: "How long the certificates are valid.",
        defaultValue: "365"),
      .init(
        name: "force", help: "Make a new authority in place of the one that is there."),
    ]
  ) { invocation in
    guard let days = try invocation.integer("days", as: Int64.self), (1...3_650).contains(days)
    else { throw UsageError("--days takes a number from 1 to 3650.") }
    let clients = invocation.has("client") ? invocation.all("client") : ["client"]
    let outcome = try DevelopmentCertificates(
      folder: invocation.option("folder") ?? "./keelson-certs"
    ).issue(
      hosts: invocation.all("host"), clients: clients, days: days,
      replacesAuthority: invocation.has("force"))
    try Output.line(report(outcome))
  }

  private static func report(_ outcome: DevelopmentCertificates.Outcome) -> String {
    let (authority, server) = (outcome.authority, outcome.server)
    var lines = [
      outcome.isAuthorityNew
        ? "\(authority.certificateFile): a new authority; its key in \(authority.keyFile)"
        : "\(authority.certificateFile): the authority that was there"
    ]
    for issued in [server] + outcome.clients {
      let names = issued.certificate.names
      let all = (names.uris + names.dnsNames + names.ipAddresses + names.emailAddresses)
      lines.append(
        "\(issued.certificateFile): for \(all.joined(separator: ", ")), until "
          + "\(issued.certificate.notAfter.toTheSecond); its key in \(issued.keyFile)")
    }
    lines += [
      "", "Serve with it, to clients that have a certificate of this authority:",
      "  keelson serve --tls-certificate \(server.certificateFile) --tls-key \(server.keyFile) "
        + "--tls-client-ca \(authority.certificateFile)",
    ]
    if let client = outcome.clients.first {
      lines += [
        "Connect to it:",
        "  keelson health --server localhost:7400 --tls-ca \(authority.certificateFile) "
          + "--tls-certificate \(client.certificateFile) --tls-key \(client.keyFile)",
      ]
    }
    return lines.joined(separator: "\n")
  }

  private static let show = Command(
    name: "show", summary: "Show what the certificates in a PEM file say",
    arguments: [.init(name: "FILE", help: "A PEM file with one certificate or more.")],
    options: [Output.option]
  ) { invocation in
    let certificates = try Certificate.all(inFile: invocation.argument("FILE"))
    switch Output(invocation).format {
    case .json:
      try Output.line(JSONValue.object(["certificates": .array(certificates.map(json))]).text)
    case .table:
      try Output.line(certificates.map(text).joined(separator: "\n\n"))
    }
  }

  private static func text(_ certificate: Certificate) -> String {
    let names = certificate.names
    let rows = [
      ("subject", certificate.subject), ("issuer", certificate.issuer),
      ("DNS names", names.dnsNames.joined(separator: ", ")),
      ("IP addresses", names.ipAddresses.joined(separator: ", ")),
      ("URIs", names.uris.joined(separator: ", ")),
      ("e-mail", names.emailAddresses.joined(separator: ", ")),
      ("valid from", certificate.notBefore.toTheSecond),
      ("valid until", certificate.notAfter.toTheSecond + validity(certificate)),
      ("may issue others", certificate.isCA ? "yes" : "no"),
      ("SHA-256", certificate.fingerprint),
    ]
    return rows.filter { !$0.1.isEmpty }.map { name, value in
      name + String(repeating: " ", count: 18 - name.count) + value.printable()
    }.joined(separator: "\n")
  }

  private static func validity(_ certificate: Certificate) -> String {
    if certificate.notAfter < .now { return " (expired)" }
    return certificate.notBefore > .now ? " (not valid yet)" : ""
  }

  private static func json(_ certificate: Certificate) -> JSONValue {
    func list(_ values: [String]) -> JSONValue { .array(values.map { .string($0) }) }
    let names = certificate.names
    return .object([
      "subject": .string(certificate.subject), "issuer": .string(certificate.issuer),
      "dns_names": list(names.dnsNames), "ip_addresses": list(names.ipAddresses),
      "uris": list(names.uris), "email_addresses": list(names.emailAddresses),
      "not_before": .string(certificate.notBefore.toTheSecond),
      "not_after": .string(certificate.notAfter.toTheSecond),
      "is_ca": .bool(certificate.isCA), "sha256": .string(certificate.fingerprint),
    ])
  }
}
