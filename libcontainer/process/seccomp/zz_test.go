package seccomp
import ("testing";"encoding/json";"os";specs "github.com/opencontainers/runtime-spec/specs-go")
func BenchmarkDocker(b *testing.B){
 raw,_:=os.ReadFile("/work/shared/data/seccomp-docker-default.json")
 var s specs.LinuxSeccomp
 if err:=json.Unmarshal(raw,&s);err!=nil{b.Fatal(err)}
 for b.Loop(){ f,l:=Compile(&s); if l!=nil{b.Fatal(l)}; b.ReportMetric(float64(f.Instructions()),"insns")}
}
func BenchmarkHit(b *testing.B){
 raw,_:=os.ReadFile("/work/shared/data/seccomp-docker-default.json")
 var s specs.LinuxSeccomp
 if err:=json.Unmarshal(raw,&s);err!=nil{b.Fatal(err)}
 c:=Cache{b.TempDir()}
 for b.Loop(){ _,l:=c.Compile(&s); if l!=nil{b.Fatal(l)}}
}
