// The Java example of RhoConnect's documentation ("Example of Ping for Java Backend Application"), with what surrounds
// it: where to send, and whom.   java Ping SERVER TOKEN SOURCE BADGE USER

import java.util.HashMap;
import java.util.Map;
import org.springframework.http.HttpEntity;
import org.springframework.http.HttpHeaders;
import org.springframework.http.HttpMethod;
import org.springframework.http.HttpStatus;
import org.springframework.http.MediaType;
import org.springframework.http.ResponseEntity;
import org.springframework.web.client.RestTemplate;

public class Ping {
    private final RestTemplate restTemplate = new RestTemplate();
    private final String endpointUrl;
    private final String apiToken;
    private final String partition;

    private Ping(String endpointUrl, String apiToken, String partition) {
        this.endpointUrl = endpointUrl;
        this.apiToken = apiToken;
        this.partition = partition;
    }

    private boolean performPing(String method, String sourceName, HashMap<String, Object> hash) {
        hash.put("api_token", apiToken);
        hash.put("source_id", sourceName);
        hash.put("user_id", partition);
        hash.put("message", "hello world");
        hash.put("vibrate", "2000");
        hash.put("sound", "hello.mp3");


        HttpHeaders headers = new HttpHeaders();
        headers.setContentType(MediaType.APPLICATION_JSON);              
        HttpEntity<Map> entity = new HttpEntity<Map>(hash, headers);

        ResponseEntity<String> response = restTemplate.exchange(
                endpointUrl + "/rc/v1/users/ping", 
                HttpMethod.POST,
                entity,
                String.class);
        HttpStatus statusCode = response.getStatusCode();

        return(statusCode.value() == 200);
    }

    public static void main(String[] args) {
        HashMap<String, Object> hash = new HashMap<String, Object>();
        hash.put("badge", args[3]);
        System.out.println(new Ping(args[0], args[1], args[4]).performPing("ping", args[2], hash));
    }
}
