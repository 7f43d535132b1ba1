/// A pattern as it was read.
indirect enum PatternTree {
  case character(CharacterSet)
  case sequence([PatternTree])
  case either([PatternTree])
  /// `maximum` nil: any number.
  case repeated(PatternTree, minimum: Int, maximum: Int?)
  case atStart
  case atEnd
}
