// KeelsonTransportTests
