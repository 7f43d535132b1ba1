// KeelsonHealthTests
