// grpc.testing.TestService and grpc.health.v1.Health on gRPC C++ with its callback API: a peer
// for interoperability tests and for benchmarks.
//
//   test_server [--port PORT] [--tls-certificate FILE --tls-key FILE]
//
// It listens on 127.0.0.1, says `listening on PORT`, and serves until it is killed. It is written
// as one would write a server with this library: nothing is left out to make it slower, and
// nothing is tuned that its documentation does not offer.

#include <grpcpp/grpcpp.h>

#include <fstream>
#include <iostream>
#include <iterator>
#include <memory>
#include <string>

#include "health_service.h"
#include "test_service.h"

namespace {

[[noreturn]] void Fail(const std::string& sentence) {
  std::cerr << "test_server: " << sentence << "\n";
  std::exit(2);
}

std::string Contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) Fail("cannot read " + path);
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace

int main(int argc, char** argv) {
  std::string port = "0", certificate, key;
  for (int index = 1; index < argc; index += 2) {
    const std::string option = argv[index];
    if (index + 1 == argc) Fail(option + " needs a value");
    if (option == "--port") {
      port = argv[index + 1];
    } else if (option == "--tls-certificate") {
      certificate = argv[index + 1];
    } else if (option == "--tls-key") {
      key = argv[index + 1];
    } else {
      Fail("there is no option " + option);
    }
  }
  if (certificate.empty() != key.empty()) Fail("a certificate and its key go together");

  auto credentials = grpc::InsecureServerCredentials();
  if (!certificate.empty()) {
    grpc::SslServerCredentialsOptions options;
    options.pem_key_cert_pairs.push_back({Contents(key), Contents(certificate)});
    credentials = grpc::SslServerCredentials(options);
  }

  HealthService health;
  TestService service;
  int bound_port = 0;
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:" + port, credentials, &bound_port);
  builder.RegisterService(&health);
  builder.RegisterService(&service);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (!server || bound_port == 0) Fail("cannot listen on port " + port);
  std::cout << "listening on " << bound_port << std::endl;
  server->Wait();
  return 0;
}
