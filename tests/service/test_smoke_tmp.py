import time, json
def test_x(service):
    print(service.children, service.url)
    for i in range(3):
        t=time.perf_counter(); a=service.decide(explain=True); print((time.perf_counter()-t)*1e3, a["took_ms"], a["rung"])
    print(json.dumps(a)[:1500])
    tok=service.track("c-1","Product Viewed",product_id="o-5")
    a=service.decide(after=tok); print(a["features_as_of"], a["took_ms"])
    print({k:v for k,v in service.features("c-1").items() if v})
    t=time.perf_counter(); print(len(service.archived("c-1")), time.perf_counter()-t)
    d=service.logged("c-1"); print([len(p) for _,p in service.archived("c-1")])
    t=time.perf_counter(); service.everywhere(lambda r: r["ready"]); print(time.perf_counter()-t)
    print(service.get("/metrics").text[:3000])
    print(service.get("/ready").json())
