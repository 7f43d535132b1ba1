// KeelsonServerTests
