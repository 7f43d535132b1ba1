#pragma once
#include "file_descriptor_set.h"
#include "generated.h"
#include "message_table.h"
