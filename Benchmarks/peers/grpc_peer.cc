// The peer that Keelson's fan-out is measured against: gRPC C++ with its callback API. Single calls
// and streams are measured against the server in Tests/Peers/cpp.
//
//   grpc_peer ADDRESS PAYLOAD_BYTES
//
// It is written as one would write a server with this library: nothing is left out to make it
// slower, and nothing is tuned that its documentation does not offer.

#include <grpcpp/grpcpp.h>

#include <cstdlib>
#include <iostream>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_set>

#include "fanout.grpc.pb.h"

namespace {

using keelson::benchmarks::PublishRequest;
using keelson::benchmarks::SubscribeRequest;
using keelson::benchmarks::Update;

class Subscriber;

// All subscribers. Its mutex is taken before a subscriber's.
class Hub {
 public:
  explicit Hub(std::string payload) {
    latest_.set_revision(1);
    latest_.set_payload(std::move(payload));
  }

  void Add(Subscriber* subscriber);
  void Remove(Subscriber* subscriber) {
    std::lock_guard<std::mutex> lock(mutex_);
    subscribers_.erase(subscriber);
  }
  Update Publish();

 private:
  std::mutex mutex_;
  Update latest_;
  std::unordered_set<Subscriber*> subscribers_;
};

// One stream. A subscriber that is slow gets the latest update only.
class Subscriber final : public grpc::ServerWriteReactor<Update> {
 public:
  explicit Subscriber(Hub* hub) : hub_(hub) {}

  void Send(const Update& update) {
    std::lock_guard<std::mutex> lock(mutex_);
    if (is_finished_) return;
    if (is_writing_) {
      waiting_ = update;
      is_waiting_ = true;
      return;
    }
    Write(update);
  }

  void OnWriteDone(bool ok) override {
    std::lock_guard<std::mutex> lock(mutex_);
    is_writing_ = false;
    if (!ok) {
      FinishOnce();
    } else if (is_waiting_ && !is_finished_) {
      is_waiting_ = false;
      Write(waiting_);
    }
  }

  void OnCancel() override {
    std::lock_guard<std::mutex> lock(mutex_);
    FinishOnce();
  }

  void OnDone() override {
    hub_->Remove(this);
    delete this;
  }

 private:
  void Write(const Update& update) {
    is_writing_ = true;
    writing_ = update;
    StartWrite(&writing_);
  }

  void FinishOnce() {
    if (is_finished_) return;
    is_finished_ = true;
    Finish(grpc::Status::CANCELLED);
  }

  Hub* hub_;
  std::mutex mutex_;
  Update writing_;
  Update waiting_;
  bool is_writing_ = false;
  bool is_waiting_ = false;
  bool is_finished_ = false;
};

void Hub::Add(Subscriber* subscriber) {
  std::lock_guard<std::mutex> lock(mutex_);
  subscribers_.insert(subscriber);
  subscriber->Send(latest_);
}

Update Hub::Publish() {
  std::lock_guard<std::mutex> lock(mutex_);
  latest_.set_revision(latest_.revision() + 1);
  for (Subscriber* subscriber : subscribers_) subscriber->Send(latest_);
  return latest_;
}

class FanoutService final : public keelson::benchmarks::Fanout::CallbackService {
 public:
  explicit FanoutService(Hub* hub) : hub_(hub) {}

 private:
  grpc::ServerWriteReactor<Update>* Subscribe(grpc::CallbackServerContext*,
                                              const SubscribeRequest*) override {
    auto* subscriber = new Subscriber(hub_);
    hub_->Add(subscriber);
    return subscriber;
  }

  grpc::ServerUnaryReactor* Publish(grpc::CallbackServerContext* context, const PublishRequest*,
                                    Update* response) override {
    *response = hub_->Publish();
    auto* reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }

  Hub* hub_;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: grpc_peer ADDRESS PAYLOAD_BYTES\n";
    return 2;
  }
  Hub hub(std::string(std::strtoul(argv[2], nullptr, 10), 'x'));
  FanoutService fanout(&hub);
  grpc::ServerBuilder builder;
  builder.AddListeningPort(argv[1], grpc::InsecureServerCredentials());
  builder.RegisterService(&fanout);
  std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (!server) {
    std::cerr << "grpc_peer: cannot listen on " << argv[1] << "\n";
    return 1;
  }
  server->Wait();
  return 0;
}
