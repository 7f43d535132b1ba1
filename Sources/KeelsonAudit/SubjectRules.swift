import KeelsonStore

/// What may happen to the keys of subjects in the table: one is made, wrapped anew with another key,
/// and destroyed once. Everything else would make personal data unreadable without an erasure, or
/// have an erasure undone.
enum SubjectRules {
  /// The triggers that refuse.
  static func triggers(_ dialect: Dialect) -> [String] {
    let rules = TableRule.triggers(
      dialect, table: "audit_subjects",
      rules: [
        TableRule(
          "INSERT", "takes new keys only, and each with what it is", refusedInsert(dialect)),
        TableRule(
          "UPDATE", "has keys that are wrapped anew, or erased once",
          "NOT coalesce(\(allowed), FALSE)"),
        TableRule("DELETE", "keeps its rows: an erased key stays as erased", "TRUE"),
      ])
    switch dialect {
    // SQLite has no triggers that wait for the end of a transaction, where the entry is written.
    // VerifyEntries finds an erasure without one.
    case .sqlite: return rules
    case .postgreSQL: return rules + erasureIsAudited
    }
  }

  private static func refusedInsert(_ dialect: Dialect) -> String {
    let isWhole = """
      NEW.subject IS NOT NULL AND NEW.wrapping_key_id IS NOT NULL
        AND NEW.wrapped_key IS NOT NULL AND NEW.erase_time IS NULL
      """
    switch dialect {
    case .sqlite:
      // Also stops INSERT OR REPLACE, which would take an old row away unseen.
      return """
        NOT (\(isWhole))
          OR EXISTS (SELECT 1 FROM audit_subjects
            WHERE key_id = NEW.key_id OR subject = NEW.subject)
        """
    case .postgreSQL: return "NOT (\(isWhole))"
    }
  }

  private static let allowed = """
    NEW.key_id = OLD.key_id AND NEW.create_time = OLD.create_time
      AND OLD.wrapped_key IS NOT NULL AND OLD.erase_time IS NULL
      AND ((NEW.subject = OLD.subject AND NEW.erase_time IS NULL AND NEW.wrapped_key IS NOT NULL
          AND NEW.wrapping_key_id <> OLD.wrapping_key_id)
        OR (NEW.subject IS NULL AND NEW.wrapping_key_id IS NULL AND NEW.wrapped_key IS NULL
          AND NEW.erase_time IS NOT NULL))
    """

  /// At the end of a transaction that destroys a key there has to be the entry that says so.
  private static let erasureIsAudited =
    TableRule.triggerFunction(
      "audit_subjects_erasure_refused",
      """
      BEGIN
        IF NOT EXISTS (SELECT 1 FROM audit_entries
            WHERE entity_id = NEW.key_id AND \(AuditRepository.isErasure)) THEN
          RAISE EXCEPTION 'audit_subjects has keys that are erased with an audit entry alone'
            USING ERRCODE = 'check_violation';
        END IF;
        RETURN NULL;
      END
      """) + [
      """
      CREATE CONSTRAINT TRIGGER audit_subjects_erasure AFTER UPDATE ON audit_subjects
      DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
      WHEN (NEW.wrapped_key IS NULL) EXECUTE FUNCTION audit_subjects_erasure_refused()
      """
    ]
}
