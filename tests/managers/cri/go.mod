module berth/tests/managers/cri

go 1.24

require (
	golang.org/x/net v0.7.0
	google.golang.org/grpc v1.49.0
	k8s.io/cri-api v0.26.3
)

require (
	github.com/gogo/protobuf v1.3.2 // indirect
	github.com/golang/protobuf v1.5.2 // indirect
	golang.org/x/sys v0.5.0 // indirect
	golang.org/x/text v0.7.0 // indirect
	google.golang.org/genproto v0.0.0-20220502173005-c8bf987b8c21 // indirect
	google.golang.org/protobuf v1.28.1 // indirect
)
