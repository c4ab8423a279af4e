package guest

func logEnabled(level int32) bool { return hostLogEnabled(level) == 1 }

func logLine(level int32, line string) { hostLog(level, strPtr(line), uint32(len(line))) }
