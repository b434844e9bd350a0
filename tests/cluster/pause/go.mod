module k8scr.example/pause

go 1.21
