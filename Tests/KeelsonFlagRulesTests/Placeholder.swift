// KeelsonFlagRulesTests
