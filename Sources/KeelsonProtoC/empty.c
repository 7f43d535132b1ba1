#include "KeelsonProtoC.h"
