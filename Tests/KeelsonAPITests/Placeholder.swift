// KeelsonAPITests
