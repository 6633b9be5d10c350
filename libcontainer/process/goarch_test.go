package process

import "runtime"

const goarch = runtime.GOARCH
