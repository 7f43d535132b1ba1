// KeelsonFlagsTests
